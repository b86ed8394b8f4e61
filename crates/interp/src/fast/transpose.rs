//! Transpositions along an index that counts up.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::infer::result_sizes;
use sinter_ops::movement::Transpose;
use sinter_ops::{Arguments, EvalError};

/// Whole-byte elements move one by one along an index that counts up; `None` for others.
pub(super) fn transpose(op: &Transpose, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let x = inputs.tensor(0)?;
    let bits = x.data_type().bits();
    if x.data_type() == DataType::String || bits % 8 != 0 || x.count() == 0 {
        return Ok(None);
    }
    let width = bits / 8;
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let strides = shape::strides(x.sizes());
    let order: Vec<usize> = op.permutation.clone().unwrap_or_else(|| (0..x.rank()).rev().collect());
    let steps: Vec<usize> = order.iter().map(|&axis| strides[axis] * width).collect();
    let bytes = x.bytes();
    let mut y = Vec::with_capacity(bytes.len());
    let Some((&inner, outer)) = y_sizes.split_last() else { return Ok(None) };
    let inner_step = steps.last().copied().unwrap_or(width);
    for_each_index(outer, |at| {
        let start: usize = at.iter().zip(&steps).map(|(i, step)| i * step).sum();
        if inner_step == width {
            y.extend_from_slice(&bytes[start..start + inner * width]);
            return;
        }
        for i in 0..inner {
            let from = start + i * inner_step;
            match bytes[from..from + width] {
                [a, b, c, d] => y.extend_from_slice(&[a, b, c, d]),
                ref element => y.extend_from_slice(element),
            }
        }
    });
    Ok(Some(vec![Tensor::from_bytes(x.data_type(), &y_sizes, y.into())?.into()]))
}
