//! Products by the size of their terms.
//!
//! The table's bound of floats is relative to the largest element of a result. Where channels differ in size by orders of
//! magnitude, an error in a small one is hidden by a large one. So each channel is held against its own largest element
//! first, and where that fails, which cancellation alone may do, against what a sum can err by: `3e-5 (|A| |B|)` for each
//! element (Higham 2002, section 3.5, with the constant of the table). The sizes of the terms are only computed then.

use sinter_base::{DataType, Floats, Tensor, Value};
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::pointwise::program::Step;
use sinter_ops::{Body, Op};

use crate::parity::evaluate;

/// As in the table.
const ABSOLUTE: f64 = 3e-5;
const RELATIVE: f64 = 2e-4;

/// The axis of channels in the result of one product with transpositions and sums behind it; `None` for other regions.
/// A bound from above would hide the size of the terms.
fn channel_axis(body: &Body) -> Option<usize> {
    let (mut axis, mut products) = (None, 0);
    let rank = body.ty(*body.outputs().first()?).as_tensor()?.shape.rank()?;
    for node in body.nodes() {
        match &node.op {
            Op::Convolution(_) => (axis, products) = (Some(1), products + 1),
            Op::MatMul(_) => (axis, products) = (rank.checked_sub(1), products + 1),
            Op::Transpose(_) if products > 0 => axis = rank.checked_sub(1),
            Op::Transpose(_) => {}
            Op::Pointwise(op) => {
                let is_sum = |step: &Step| match step {
                    Step::Apply { op, .. } => matches!(op, ScalarOp::Add | ScalarOp::Max),
                    _ => true,
                };
                if !op.program.steps().iter().all(is_sum) {
                    return None;
                }
            }
            _ => return None,
        }
    }
    axis.filter(|axis| products == 1 && body.outputs().len() == 1 && *axis < rank)
}

/// Operands with all terms positive.
fn sizes_of_terms(operands: &[Option<Value>]) -> Option<Vec<Option<Value>>> {
    let positive = |value: &Option<Value>| -> Option<Option<Value>> {
        let Some(value) = value else { return Some(None) };
        let tensor = value.as_tensor().filter(|t| t.data_type() == DataType::F32)?;
        let numbers: Vec<f64> = tensor.to_floats().into_iter().map(f64::abs).collect();
        Some(Some(Tensor::from_floats(DataType::F32, tensor.sizes(), &numbers).ok()?.into()))
    };
    operands.iter().map(positive).collect()
}

/// Holds the result of a product against the size of its terms; other regions pass.
///
/// # Errors
/// The first element that differs.
pub(crate) fn check(
    body: &Body,
    operands: &[Option<Value>],
    found: &[Value],
    expected: &[Value],
) -> Result<(), String> {
    let Some(axis) = channel_axis(body) else { return Ok(()) };
    let ([found], [expected]) = (found, expected) else { return Ok(()) };
    let (Some(found), Some(expected)) = (found.as_tensor(), expected.as_tensor()) else { return Ok(()) };
    if expected.data_type() != DataType::F32 || found.sizes() != expected.sizes() {
        return Ok(());
    }
    let inner: usize = expected.sizes()[axis + 1..].iter().product();
    let channels = expected.sizes()[axis].max(1);
    let (count, found, known) = (expected.count(), Floats::of(found), Floats::of(expected));
    let channel = |at: usize| at / inner.max(1) % channels;
    let mut largest = vec![0f64; channels];
    for at in (0..count).filter(|at| known.at(*at).is_finite()) {
        largest[channel(at)] = largest[channel(at)].max(known.at(at).abs());
    }
    let stray = |at: usize, size: f64| {
        let (a, b) = (found.at(at), known.at(at));
        a.is_finite() && b.is_finite() && (a - b).abs() > ABSOLUTE * size + RELATIVE * b.abs()
    };
    if !(0..count).any(|at| stray(at, largest[channel(at)])) {
        return Ok(());
    }
    let Some(terms) = sizes_of_terms(operands) else { return Ok(()) };
    let Ok(terms) = evaluate(body, &terms) else { return Ok(()) };
    let Some(terms) = terms.first().and_then(Value::as_tensor).map(Tensor::to_floats) else { return Ok(()) };
    match (0..count).find(|&at| stray(at, terms[at])) {
        Some(at) => Err(format!(
            "element {at} is {}, expected {}: beyond the rounding of terms of size {}",
            found.at(at),
            known.at(at),
            terms[at]
        )),
        None => Ok(()),
    }
}
