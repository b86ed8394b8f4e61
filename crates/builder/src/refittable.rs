//! Refittable plans: the build hides the elements of weights that a refit may replace, and the plan keeps the expressions
//! that compute its weights from them.
//!
//! A build that sees elements may depend on them: a factor of 1 vanishes, two equal numbers become one. So a refittable
//! build hides them in the types of the network, before any pass.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sinter_base::{TensorType, ValueType};
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{Body, EvalError, InferContext, Node, Operands, ValueId, infer, infer_types};
use sinter_plan::{PlanWeight, WeightExpression, WeightId, WeightSource};

/// The network with the contents of refittable weights hidden. A weight whose elements decide sizes, that control flow with
/// visible contents captures, or that shares its name with another one, is not refittable.
pub(crate) fn hide_contents(network: &Network) -> Network {
    let mut named: HashMap<&str, Vec<ValueId>> = HashMap::new();
    for weight in &network.weights {
        if let WeightExpr::Source { name, .. } = &*weight.expr {
            named.entry(name).or_default().push(weight.value);
        }
    }
    let mut fixed: HashSet<ValueId> = named.into_values().filter(|all| all.len() > 1).flatten().collect();
    loop {
        match with_hidden(network, &fixed) {
            Ok(hidden) => return hidden,
            Err(weights) => fixed.extend(weights),
        }
    }
}

/// The network without the contents of its refittable weights.
///
/// # Errors
/// Weights whose contents must stay.
fn with_hidden(network: &Network, fixed: &HashSet<ValueId>) -> Result<Network, BTreeSet<ValueId>> {
    let mut hidden = network.clone();
    // The weights that the hidden contents of a value depend on.
    let mut origins: HashMap<ValueId, BTreeSet<ValueId>> = HashMap::new();
    for weight in &mut hidden.weights {
        if !weight.expr.can_be_refitted() || fixed.contains(&weight.value) {
            continue;
        }
        if let WeightExpr::Source { is_refittable, .. } = Arc::make_mut(&mut weight.expr) {
            *is_refittable = true;
        }
        if clear(&mut hidden.body, weight.value) {
            origins.insert(weight.value, BTreeSet::from([weight.value]));
        }
    }
    for node in network.body.nodes() {
        let read: BTreeSet<ValueId> =
            node.inputs.iter().flatten().filter_map(|id| origins.get(id)).flatten().copied().collect();
        if read.is_empty() {
            continue;
        }
        let (before, after) = (types(&network.body, node), types(&hidden.body, node));
        let (Some(before), Some(after)) = (before, after) else { return Err(read) };
        let same = |(a, b): (&ValueType, &ValueType)| without_contents(a) == without_contents(b);
        if !node.op.bodies().is_empty() || !before.iter().zip(&after).all(same) {
            return Err(read);
        }
        for (id, ty) in node.outputs.iter().zip(after) {
            let is_hidden = ty.as_tensor().is_some_and(|ty| ty.value.is_none());
            if is_hidden && clear(&mut hidden.body, *id) {
                origins.insert(*id, read.clone());
            }
        }
    }
    Ok(hidden)
}

/// Clears the known contents of a value; false if there are none.
fn clear(body: &mut Body, id: ValueId) -> bool {
    let ty = body.ty(id);
    let is_known = ty.as_tensor().is_some_and(|ty| ty.value.is_some());
    if is_known {
        let cleared = without_contents(ty);
        body.set_type(id, cleared);
    }
    is_known
}

fn without_contents(ty: &ValueType) -> ValueType {
    match ty {
        ValueType::Tensor(tensor) => TensorType::new(tensor.data_type, tensor.shape.clone()).into(),
        other => other.clone(),
    }
}

fn types(body: &Body, node: &Node) -> Option<Vec<ValueType>> {
    let operands: Vec<Option<&ValueType>> = node.inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
    infer(&node.op, &Operands::new(&operands), &mut InferContext::default()).ok()
}

/// May a refit change the result of the expression?
pub(crate) fn is_refittable(expression: &Arc<WeightExpr>) -> bool {
    let mut is_refittable = false;
    WeightExpr::visit([expression], &mut |inner| {
        is_refittable |= matches!(**inner, WeightExpr::Source { is_refittable: true, .. });
    });
    is_refittable
}

/// The expressions of a plan's weights, and the constants that they read.
pub(crate) struct Expressions<'a> {
    weights: &'a mut Vec<PlanWeight>,
    constants: HashMap<*const WeightExpr, WeightId>,
}

impl<'a> Expressions<'a> {
    /// Constants are added to these weights of the plan.
    pub(crate) fn new(weights: &'a mut Vec<PlanWeight>) -> Self {
        Self { weights, constants: HashMap::new() }
    }

    /// The expression of a weight as a body.
    ///
    /// # Errors
    /// When an operator does not take its operands.
    pub(crate) fn add(
        &mut self,
        weight: WeightId,
        expression: &Arc<WeightExpr>,
    ) -> Result<WeightExpression, EvalError> {
        let (mut body, mut sources) = (Body::new(), Vec::new());
        let mut values: HashMap<*const WeightExpr, ValueId> = HashMap::new();
        let mut failed = None;
        WeightExpr::visit([expression], &mut |inner| {
            let value = match &**inner {
                WeightExpr::Source { name, tensor, is_refittable: true } => {
                    sources.push(WeightSource::Named(name.to_string()));
                    body.add_input(TensorType::new(tensor.data_type(), tensor.sizes().into()).into())
                }
                WeightExpr::Source { name, tensor, .. } => {
                    let constant = *self.constants.entry(Arc::as_ptr(inner)).or_insert_with(|| {
                        self.weights.push(PlanWeight::new(name.to_string(), tensor.clone()));
                        WeightId::new(self.weights.len() - 1)
                    });
                    sources.push(WeightSource::Constant(constant));
                    body.add_input(TensorType::of(tensor).into())
                }
                WeightExpr::Apply { op, inputs, output } => {
                    let operand = |input: &Arc<WeightExpr>| values.get(&Arc::as_ptr(input)).copied();
                    let inputs: Vec<Option<ValueId>> =
                        inputs.iter().map(|input| input.as_ref().and_then(operand)).collect();
                    let types: Vec<Option<&ValueType>> = inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
                    let inferred = infer_types(op, &Operands::new(&types), &mut InferContext::default());
                    let made = inferred.map(|types| body.add_typed(op.clone(), &inputs, types));
                    match made.map(|made| made.get(*output).copied()) {
                        Ok(Some(value)) => value,
                        Ok(None) => {
                            failed = Some(EvalError::Invalid(format!("{} has no result {output}", op.name())));
                            return;
                        }
                        Err(error) => {
                            failed = Some(EvalError::Invalid(error.to_string()));
                            return;
                        }
                    }
                }
            };
            values.insert(Arc::as_ptr(inner), value);
        });
        match (failed, values.get(&Arc::as_ptr(expression))) {
            (None, Some(result)) => {
                body.set_outputs(vec![*result]);
                Ok(WeightExpression { weight, body, sources })
            }
            (failed, _) => Err(failed.unwrap_or_else(|| EvalError::Invalid("no result".to_owned()))),
        }
    }
}
