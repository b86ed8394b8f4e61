//! Type inference of one node: the operator's own rule, the fallback for unknown ranks, and folding of known contents.

use sinter_base::shape::broadcast_dims;
use sinter_base::types::MAX_KNOWN_ELEMENTS;
use sinter_base::{Dim, Shape, Sizes, Tensor, TensorType, Truth, Value, ValueType};

use crate::catalog::Op;
use crate::error::{EvalError, InferError};
use crate::evaluate::{EvalContext, ReferenceEvaluator};
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// A condition on sizes that inference could not decide; the run checks it when it knows the sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// One side.
    pub left: Dim,
    /// The other side.
    pub right: Dim,
    /// The meaning of a difference, for the error message.
    pub reason: String,
}

/// State of inference over a network: names of dynamic dimensions, and collected guards.
#[derive(Clone, Debug, Default)]
pub struct InferContext {
    next_symbol: usize,
    /// Conditions left for run time.
    pub guards: Vec<Guard>,
}

impl InferContext {
    /// A context that continues one whose names are used up to this number.
    pub fn continuing(last: usize, guards: Vec<Guard>) -> Self {
        Self { next_symbol: last, guards }
    }

    /// A new dynamic dimension. Its name starts with `?`, which no name of a model does.
    pub fn fresh(&mut self, what: &str) -> Dim {
        self.next_symbol += 1;
        Dim::symbol(&format!("?{what}{}", self.next_symbol))
    }

    /// Requires that two sizes are equal; an undecided comparison becomes a guard.
    ///
    /// # Errors
    /// When they differ for all sizes.
    pub fn require_equal(&mut self, left: &Dim, right: &Dim, reason: &str) -> Result<(), InferError> {
        match left.equals(right) {
            Truth::Yes => {}
            Truth::No => return Err(InferError::Invalid(format!("{reason}: {left} differs from {right}"))),
            Truth::Unknown => {
                self.guards.push(Guard { left: left.clone(), right: right.clone(), reason: reason.to_owned() })
            }
        }
        Ok(())
    }

    /// Multidirectional broadcast, see [`broadcast_dims`]; undecided conditions become guards.
    ///
    /// # Errors
    /// When two sizes differ for all values and neither is 1.
    pub fn broadcast(&mut self, shapes: &[&[Dim]]) -> Result<Vec<Dim>, InferError> {
        let result = broadcast_dims(shapes)?;
        for shape in shapes {
            self.require_broadcast(shape, &result, "sizes of a broadcast")?;
        }
        Ok(result)
    }

    /// Requires that a shape can be broadcast to another one, last axes against last axes: each size is that of the
    /// other shape, or 1. A condition on dynamic dimensions becomes a guard.
    ///
    /// # Errors
    /// When it cannot, for all sizes.
    pub fn require_broadcast(&mut self, from: &[Dim], to: &[Dim], reason: &str) -> Result<(), InferError> {
        let one = Dim::constant(1);
        if from.len() > to.len() {
            return Err(InferError::Invalid(format!("{reason}: {} axes against {}", from.len(), to.len())));
        }
        for (size, target) in from.iter().rev().zip(to.iter().rev()) {
            // A size cut at a bound is 1 only where the whole one is.
            let equal = match size.equals(&one) {
                Truth::Yes => continue,
                Truth::No => target.clone(),
                Truth::Unknown if size.is_cut_of(target) => target.clone(),
                Truth::Unknown => {
                    // 1 where the size is 1, else the target.
                    let distance = size.sub(&one).maximum(&one.sub(size)).minimum(&one);
                    one.add(&target.sub(&one).mul(&distance))
                }
            };
            if size != target {
                self.require_equal(size, &equal, reason)?;
            }
        }
        Ok(())
    }
}

/// Infers the result types of a node, with contents where the contents of all inputs are known. A size whose expression
/// is too large becomes a new dynamic dimension, as does a size that only the run knows.
///
/// # Errors
/// When the operator does not take these inputs.
pub fn infer(op: &Op, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
    let types = own_types(op, inputs, cx)?;
    let types = fold_known(op, inputs, &types).unwrap_or(types);
    Ok(bounded_types(types, cx))
}

/// As [`infer`], but never evaluates the operator: the runtime has no reference to evaluate it with.
///
/// # Errors
/// When the operator does not take these inputs.
pub fn infer_types(op: &Op, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
    let types = own_types(op, inputs, cx)?;
    Ok(bounded_types(types, cx))
}

/// Applies the operator's own rule.
fn own_types(op: &Op, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
    match op.infer(inputs, cx) {
        Err(InferError::Unranked(_)) => op.unranked(inputs),
        other => other,
    }
}

fn bounded_types(types: Vec<ValueType>, cx: &mut InferContext) -> Vec<ValueType> {
    let mut named = Vec::new();
    types.into_iter().map(|ty| bounded(ty, &mut named, cx)).collect()
}

/// Replaces size expressions that are too large by dynamic dimensions; `named` lists the replacements so far.
fn bounded(ty: ValueType, named: &mut Vec<(Dim, Dim)>, cx: &mut InferContext) -> ValueType {
    match ty {
        ValueType::Tensor(mut tensor) => {
            if let Shape::Ranked(dims) = &mut tensor.shape {
                for dim in dims.iter_mut().filter(|dim| dim.is_too_large()) {
                    let known = named.iter().find(|(large, _)| large == dim).map(|(_, name)| name.clone());
                    let name = known.unwrap_or_else(|| cx.fresh("large"));
                    named.push((std::mem::replace(dim, name.clone()), name));
                }
            }
            ValueType::Tensor(tensor)
        }
        ValueType::Sequence(item) => ValueType::Sequence(Box::new(bounded(*item, named, cx))),
        ValueType::Optional(item) => ValueType::Optional(Box::new(bounded(*item, named, cx))),
    }
}

/// Evaluates the reference when every input is a known small constant, so that shape arithmetic of any kind folds.
fn fold_known(op: &Op, inputs: &Operands<'_>, types: &[ValueType]) -> Option<Vec<ValueType>> {
    let known = |ty: &ValueType| ty.as_tensor().is_some_and(|t| t.value.is_some());
    if types.iter().all(known) || op.effects().random || !op.bodies().is_empty() {
        return None;
    }
    // A quantized constant must stay quantized in the network: kernels are chosen by its quantization.
    if matches!(op, Op::Quantize(_) | Op::Dequantize(_)) {
        return None;
    }
    let small = |ty: &ValueType| {
        let count = ty.as_tensor().and_then(|t| t.shape.count().ok()).map(|c| c.upper_bound());
        count.is_some_and(|c| usize::try_from(c).is_ok_and(|c| c <= MAX_KNOWN_ELEMENTS))
    };
    if !types.iter().all(small) {
        return None;
    }
    let values: Option<Vec<Option<Value>>> = (0..inputs.len())
        .map(|i| match inputs.optional_value(i) {
            None => Some(None),
            Some(ty) => ty.as_tensor().and_then(TensorType::constant).map(|t: Tensor| Some(Value::Tensor(t))),
        })
        .collect();
    let values = values?;
    let evaluator = ReferenceEvaluator;
    let results = op.reference(&Arguments::new(&values), &EvalContext::new(&evaluator)).ok()?;
    Some(results.iter().map(Value::value_type).collect())
}

/// Concrete sizes of the results for concrete inputs, by the operator's own `infer`. For references whose result sizes
/// do not depend on contents beyond small integer tensors.
///
/// # Errors
/// When `infer` refuses the inputs or leaves a size open.
pub fn result_sizes<O: Operator>(op: &O, inputs: &Arguments<'_>) -> Result<Vec<Sizes>, EvalError> {
    let types: Vec<Option<ValueType>> = inputs.all().iter().map(|v| v.as_ref().map(Value::value_type)).collect();
    let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let mut cx = InferContext::default();
    let results = op.infer(&Operands::new(&types), &mut cx)?;
    if let Some(guard) = cx.guards.first() {
        return Err(EvalError::Invalid(format!("{}: {} against {}", guard.reason, guard.left, guard.right)));
    }
    let open = |ty: &ValueType| EvalError::Invalid(format!("the sizes of {ty} are not decided by the inputs' types"));
    results.iter().map(|ty| ty.as_tensor().and_then(|t| t.shape.sizes()).ok_or_else(|| open(ty))).collect()
}

/// Runs the reference on tensors and returns tensors, for hand-worked tests.
///
/// # Errors
/// As the reference, or when a result is no tensor.
pub fn reference_of<O: Operator>(op: &O, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let values: Vec<Option<Value>> = inputs.iter().map(|t| Some(Value::Tensor((*t).clone()))).collect();
    let results = op.reference(&Arguments::new(&values), &EvalContext::new(&ReferenceEvaluator))?;
    let tensor = |value: &Value| value.as_tensor().cloned();
    results.iter().map(|v| tensor(v).ok_or(EvalError::Invalid("a result is no tensor".to_owned()))).collect()
}

/// Runs `infer` on types, for hand-worked tests.
///
/// # Errors
/// As `infer`.
pub fn infer_of<O: Operator>(op: &O, inputs: &[&ValueType]) -> Result<Vec<ValueType>, InferError> {
    let types: Vec<Option<&ValueType>> = inputs.iter().map(|t| Some(*t)).collect();
    op.infer(&Operands::new(&types), &mut InferContext::default())
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;

    use super::*;
    use crate::movement::Concat;

    #[test]
    fn sizes_that_are_too_large_get_names() {
        let sum = |name: &str| {
            let names = (0..300).map(|i| Dim::symbol(&format!("{name}{i}")));
            names.fold(Dim::constant(0), |sum, size| sum.add(&size))
        };
        let [a, b] = ["A", "B"].map(|name| ValueType::tensor(DataType::F32, vec![sum(name)]));
        let (op, mut cx) = (Concat { axis: 0 }.into(), InferContext::default());
        let types = infer(&op, &Operands::new(&[Some(&a), Some(&b)]), &mut cx).unwrap();
        assert_eq!(types, [ValueType::tensor(DataType::F32, vec![Dim::symbol("?large1")])]);
        let small = ValueType::tensor(DataType::F32, vec![Dim::symbol("N")]);
        let types = infer(&op, &Operands::new(&[Some(&a), Some(&small)]), &mut cx).unwrap();
        assert_eq!(types, [ValueType::tensor(DataType::F32, vec![sum("A").add(&Dim::symbol("N"))])]);
    }

    #[test]
    fn guards_say_when_a_broadcast_is_legal() {
        let (n, m) = (Dim::symbol("N"), Dim::symbol("M"));
        let three = Dim::constant(3);
        for [a, b] in [[&n, &m], [&n, &three], [&n.maximum(&m), &n]] {
            let mut cx = InferContext::default();
            let result = cx.broadcast(&[std::slice::from_ref(a), std::slice::from_ref(b)]).unwrap().swap_remove(0);
            for (n, m) in (0..6).flat_map(|n| (0..6).map(move |m| (n, m))) {
                let of = |dim: &Dim| dim.evaluate(&|name| Some(if name == "N" { n } else { m })).unwrap();
                let (x, y, z) = (of(a), of(b), of(&result));
                let holds = cx.guards.iter().all(|guard| of(&guard.left) == of(&guard.right));
                assert_eq!(holds, [x, y].iter().all(|size| *size == z || *size == 1), "{a} {b} at {n} {m}");
            }
        }
        let mut cx = InferContext::default();
        cx.broadcast(&[&[n.clone(), 1i64.into()], &[n, three]]).unwrap();
        assert!(cx.guards.is_empty());
    }
}
