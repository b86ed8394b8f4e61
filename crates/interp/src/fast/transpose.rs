//! Transpositions, rows of the result side by side.

use rayon::prelude::*;
use sinter_base::shape;
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::infer::result_sizes;
use sinter_ops::movement::Transpose;
use sinter_ops::{Arguments, EvalError};

/// Bytes of the result that one task writes, at least.
const TASK: usize = 1 << 16;

/// `None` for elements that are no whole bytes.
pub(super) fn transpose(op: &Transpose, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let x = inputs.tensor(0)?;
    let bits = x.data_type().bits();
    if x.data_type() == DataType::String || bits % 8 != 0 || x.count() == 0 {
        return Ok(None);
    }
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let strides = shape::strides(x.sizes());
    let order: Vec<usize> = op.permutation.clone().unwrap_or_else(|| (0..x.rank()).rev().collect());
    let steps: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let y = match bits / 8 {
        1 => rearranged::<1>(x.bytes(), &y_sizes, &steps),
        2 => rearranged::<2>(x.bytes(), &y_sizes, &steps),
        4 => rearranged::<4>(x.bytes(), &y_sizes, &steps),
        8 => rearranged::<8>(x.bytes(), &y_sizes, &steps),
        _ => return Ok(None),
    };
    Ok(Some(vec![Tensor::from_bytes(x.data_type(), &y_sizes, y.into())?.into()]))
}

/// Elements of `N` bytes in the order of `sizes`, where index i of axis a lies `i steps[a]` elements further.
fn rearranged<const N: usize>(bytes: &[u8], sizes: &[usize], steps: &[usize]) -> Vec<u8> {
    let (x, _) = bytes.as_chunks::<N>();
    let mut y = vec![[0; N]; x.len()];
    let (Some((&inner, outer)), Some((&step, steps))) = (sizes.split_last(), steps.split_last()) else {
        return bytes.to_vec();
    };
    let rows = (TASK / (inner * N).max(1)).max(1);
    y.par_chunks_mut(inner * rows).enumerate().for_each(|(task, part)| {
        for (row, part) in part.chunks_mut(inner).enumerate() {
            let start = shape::ravel(&shape::unravel(task * rows + row, outer), steps);
            if step == 1 {
                part.copy_from_slice(&x[start..start + inner]);
            } else {
                part.iter_mut().zip(x[start..].iter().step_by(step)).for_each(|(to, from)| *to = *from);
            }
        }
    });
    y.into_flattened()
}
