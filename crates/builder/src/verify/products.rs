//! Bounds of products by the size of their terms.
//!
//! The table's bound of floats is relative to the largest element of a result. Where channels differ in size by orders
//! of magnitude, a large one would hide an error in a small one. So the check compares each channel with its own
//! largest element first, and where that fails, which cancellation alone may cause, with the error bound of a sum:
//! `3e-5 (|A| |B|)` for each element (Higham 2002, section 3.5, with the constant of the table). Only then it computes
//! the sizes of the terms.

use std::collections::HashMap;

use sinter_base::{DataType, Floats, Tensor, Value};
use sinter_interp::FastEvaluator;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::pointwise::program::Step;
use sinter_ops::{Arguments, Body, EvalContext, Evaluator, Node, Op, ValueId};

/// As in the table.
const ABSOLUTE: f64 = 3e-5;
const RELATIVE: f64 = 2e-4;

/// The axis of channels of every value that is a product, or a sum of one product and something else, in any order of
/// axes. An upper bound would hide the size of the terms.
fn channel_axes(body: &Body) -> HashMap<ValueId, usize> {
    let mut axes: HashMap<ValueId, usize> = HashMap::new();
    for node in body.nodes() {
        let [result] = node.outputs[..] else { continue };
        let rank = body.ty(result).as_tensor().and_then(|ty| ty.shape.rank());
        let mut before = node.inputs.iter().flatten().filter_map(|id| axes.get(id).copied());
        let axis = match (&node.op, before.next(), before.next()) {
            (Op::Convolution(_), None, _) => Some(1),
            (Op::MatMul(_), None, _) => rank.and_then(|rank| rank.checked_sub(1)),
            (Op::Transpose(op), Some(axis), None) => {
                op.permutation.as_ref().and_then(|permutation| permutation.iter().position(|from| *from == axis))
            }
            (Op::Pointwise(op), Some(axis), None) => {
                let is_sum = |step: &Step| match step {
                    Step::Apply { op, .. } => matches!(op, ScalarOp::Add | ScalarOp::Max),
                    _ => true,
                };
                op.program.steps().iter().all(is_sum).then_some(axis)
            }
            _ => None,
        };
        if let Some(axis) = axis.filter(|axis| rank.is_some_and(|rank| *axis < rank)) {
            axes.insert(result, axis);
        }
    }
    axes
}

fn absolute(value: &Value) -> Option<Value> {
    let tensor = value.as_tensor().filter(|t| t.data_type() == DataType::F32)?;
    let numbers: Vec<f64> = tensor.to_floats().into_iter().map(f64::abs).collect();
    Some(Tensor::from_floats(DataType::F32, tensor.sizes(), &numbers).ok()?.into())
}

/// Every value of the body, with products computed from absolute values.
fn sizes_of_terms(
    body: &Body,
    operands: &[Option<Value>],
    sums: &HashMap<ValueId, usize>,
) -> Option<HashMap<ValueId, Value>> {
    let given = operands.iter().flatten().cloned();
    let mut values: HashMap<ValueId, Value> = body.inputs().iter().copied().zip(given).collect();
    let is_sum = |node: &Node| node.outputs.iter().any(|id| sums.contains_key(id));
    for node in body.nodes() {
        let operand = |id: &Option<ValueId>| {
            let Some(id) = id else { return Some(None) };
            let value = values.get(id)?;
            if is_sum(node) { absolute(value).map(Some) } else { Some(Some(value.clone())) }
        };
        let operands: Vec<Option<Value>> = node.inputs.iter().map(operand).collect::<Option<_>>()?;
        let results = FastEvaluator.evaluate(&node.op, &Arguments::new(&operands), &EvalContext::new(&FastEvaluator));
        values.extend(node.outputs.iter().copied().zip(results.ok()?));
    }
    Some(values)
}

/// Compares the results of products with the size of their terms; other results pass.
///
/// # Errors
/// The first element that differs.
pub(crate) fn check(
    body: &Body,
    operands: &[Option<Value>],
    found: &[Value],
    expected: &[Value],
) -> Result<(), String> {
    let axes = channel_axes(body);
    let mut terms = None;
    for ((id, found), expected) in body.outputs().iter().zip(found).zip(expected) {
        let (Some(axis), Some(found), Some(expected)) = (axes.get(id), found.as_tensor(), expected.as_tensor()) else {
            continue;
        };
        if expected.data_type() != DataType::F32 || found.sizes() != expected.sizes() || !strays(found, expected, *axis)
        {
            continue;
        }
        let terms = terms.get_or_insert_with(|| sizes_of_terms(body, operands, &axes));
        let Some(terms) = terms.as_ref().and_then(|terms| terms.get(id)?.as_tensor()) else { continue };
        let (found, known, terms) = (Floats::of(found), Floats::of(expected), Floats::of(terms));
        if let Some(at) = (0..expected.count()).find(|&at| is_stray(found.at(at), known.at(at), terms.at(at))) {
            return Err(format!(
                "element {at} is {}, expected {}: beyond the rounding of terms of size {}",
                found.at(at),
                known.at(at),
                terms.at(at)
            ));
        }
    }
    Ok(())
}

fn is_stray(found: f64, known: f64, size: f64) -> bool {
    found.is_finite() && known.is_finite() && (found - known).abs() > ABSOLUTE * size + RELATIVE * known.abs()
}

/// Does any element differ too much for the largest one of its channel?
fn strays(found: &Tensor, expected: &Tensor, axis: usize) -> bool {
    let inner: usize = expected.sizes()[axis + 1..].iter().product();
    let channels = expected.sizes()[axis].max(1);
    let (count, found, known) = (expected.count(), Floats::of(found), Floats::of(expected));
    let channel = |at: usize| at / inner.max(1) % channels;
    let mut largest = vec![0f64; channels];
    for at in (0..count).filter(|at| known.at(*at).is_finite()) {
        largest[channel(at)] = largest[channel(at)].max(known.at(at).abs());
    }
    (0..count).any(|at| is_stray(found.at(at), known.at(at), largest[channel(at)]))
}

#[cfg(test)]
mod tests {
    use sinter_base::ValueType;
    use sinter_ops::matmul::MatMul;
    use sinter_ops::pointwise::Expr;
    use sinter_ops::{InferContext, Memory};

    use super::*;
    use crate::verify::reference::evaluate;

    /// exp(x) A and exp(x) B + b, whose first columns are a million times smaller than the others.
    #[test]
    fn small_columns_of_each_product_count() {
        let mut body = Body::new();
        let mut input =
            |sizes: [i64; 2]| Some(body.add_input(ValueType::tensor(DataType::F32, sizes.map(Into::into).to_vec())));
        let (x, a, b, bias) = (input([5, 4]), input([4, 3]), input([4, 3]), input([1, 3]));
        let mut cx = InferContext::default();
        let (first, second) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
        let exp = Expr::into_pointwise(&[first.unary(ScalarOp::Exp)]).unwrap();
        let head = Some(body.add(exp.into(), &[x], &mut cx).unwrap()[0]);
        let y = body.add(MatMul::default().into(), &[head, a], &mut cx).unwrap()[0];
        let z = body.add(MatMul::default().into(), &[head, b], &mut cx).unwrap()[0];
        let sum = Expr::into_pointwise(&[&first + &second]).unwrap();
        let z = body.add(sum.into(), &[Some(z), bias], &mut cx).unwrap()[0];
        body.set_outputs(vec![y, z]);
        let tensor = |sizes: &[usize], of: &dyn Fn(usize) -> f64| {
            let numbers: Vec<f64> = (0..sizes.iter().product()).map(of).collect();
            Some(Tensor::from_floats(DataType::F32, sizes, &numbers).unwrap().into())
        };
        let wave = |at: usize| (at as f64 * 1.7).sin();
        let scaled = |at: usize| wave(at) * if at.is_multiple_of(3) { 1e-6 } else { 1.0 };
        let operands =
            [tensor(&[5, 4], &wave), tensor(&[4, 3], &scaled), tensor(&[4, 3], &scaled), tensor(&[1, 3], &scaled)];
        let expected = evaluate(&body, &operands, Memory::UNBOUNDED).unwrap();
        assert_eq!(check(&body, &operands, &expected, &expected), Ok(()));
        for result in 0..2 {
            for (column, off, passes) in [(0, 1e-8, false), (1, 1e-6, true), (1, 1e-3, false)] {
                let mut found = expected.clone();
                let tensor = found[result].as_tensor().unwrap();
                let mut numbers = tensor.to_floats();
                numbers[6 + column] += off;
                found[result] = Tensor::from_floats(DataType::F32, tensor.sizes(), &numbers).unwrap().into();
                assert_eq!(check(&body, &operands, &found, &expected).is_ok(), passes, "{result} {column} {off}");
            }
        }
    }
}
