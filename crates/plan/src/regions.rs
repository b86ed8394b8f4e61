//! Checks that a region describes its values correctly. Kernels depend on the types inside of a region and on the
//! indices of its operands.

use sinter_backend::Region;
use sinter_base::{Dim, ValueType};
use sinter_ops::{Body, InferContext, Node, Operands, infer_types};

use crate::check::promises;

/// How strictly types and sizes must match.
pub(crate) struct Fit<'a> {
    /// May a value be declared to have the first type where the second is inferred?
    pub(crate) type_fits: &'a dyn Fn(&ValueType, &ValueType) -> bool,
    /// May these sizes be treated as equal?
    pub(crate) is_guarded: &'a dyn Fn(&Dim, &Dim) -> bool,
}

/// Does the region have operands exactly where the step has some? A region of one operator uses the operator's input
/// indices, any other the inputs of its body. The bodies of control flow own the weights that they capture, which the
/// step may omit.
pub(crate) fn takes(region: &Region, given: &[bool]) -> bool {
    let inputs = region.body().inputs();
    match region.only() {
        Some(Node { inputs: own, op, .. }) => {
            let is_taken =
                |(own, given): (&Option<_>, &bool)| own.is_some() == *given || own.is_some() && op.is_control();
            own.len() == given.len() && own.iter().zip(given).all(is_taken) && own.iter().flatten().eq(inputs)
        }
        None => given.len() == inputs.len() && given.iter().all(|is_given| *is_given),
    }
}

/// Infers the types of a region's results, operator by operator.
///
/// # Errors
/// The first operator that refuses its operands, or whose results differ from those that the region states.
pub(crate) fn results(region: &Region, fit: &Fit<'_>) -> Result<Vec<ValueType>, String> {
    let body = region.body();
    let mut inferred: Vec<ValueType> = Vec::with_capacity(body.outputs().len());
    let known = operator_types(body, fit)?;
    // A kernel writes each result of the operators once; for a single operator, the first ones in order.
    let mut made: Vec<_> = body.nodes().iter().flat_map(|node| &node.outputs).collect();
    if region.only().is_some() && !made.iter().copied().zip(body.outputs()).all(|(made, given)| made == given) {
        return Err("a single operator has other results".to_owned());
    }
    for id in body.outputs() {
        let position = made.iter().position(|made| *made == id).ok_or("a result that no operator makes, or twice")?;
        made.swap_remove(position);
        inferred.push(known.get(id.index()).cloned().flatten().ok_or("a result without a type")?);
    }
    Ok(inferred)
}

/// The type of every value that an operator of a body makes, by value.
///
/// # Errors
/// The first operator that refuses its operands, or whose results differ from those that the body states.
pub(crate) fn operator_types(body: &Body, fit: &Fit<'_>) -> Result<Vec<Option<ValueType>>, String> {
    let mut known = vec![None; body.value_count()];
    for node in body.nodes() {
        let operands: Vec<Option<&ValueType>> = node.inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
        let mut cx = InferContext::default();
        let types = infer_types(&node.op, &Operands::new(&operands), &mut cx).map_err(|e| e.to_string())?;
        if let Some(guard) = cx.guards.iter().find(|guard| !(fit.is_guarded)(&guard.left, &guard.right)) {
            return Err(format!("no guard checks {} against {}: {}", guard.left, guard.right, guard.reason));
        }
        if types.len() < node.outputs.len() {
            return Err(format!("{} has {} results, not {}", node.op.name(), types.len(), node.outputs.len()));
        }
        for (id, ty) in node.outputs.iter().zip(types) {
            let declared = body.ty(*id);
            if !((fit.type_fits)(declared, &ty) && promises(declared, &ty)) {
                return Err(format!("a result of {} is {ty}, not {declared}", node.op.name()));
            }
            if let Some(slot) = known.get_mut(id.index()) {
                *slot = Some(ty);
            }
        }
    }
    Ok(known)
}
