//! Matrix products, one batch entry after the other.

use rayon::prelude::*;
use sinter_base::Value;
use sinter_base::shape::{self, broadcast_strides};
use sinter_ops::infer::result_sizes;
use sinter_ops::matmul::MatMul;
use sinter_ops::{Arguments, EvalError};

use crate::fast::{rounded, sums_are_exact};
use crate::product::{MatrixView, Threads, product};

/// `None` for vectors, and for sums that float64 cannot represent exactly.
pub(super) fn matmul(op: &MatMul, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
    if a.rank() < 2 || b.rank() < 2 {
        return Ok(None);
    }
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let (batch, matrix) = y_sizes.split_at(y_sizes.len() - 2);
    let (m, n) = (matrix[0], matrix[1]);
    let k = a.sizes()[a.rank() - if op.transpose_a { 2 } else { 1 }];
    let strides = |rows: usize, columns: usize, transposed: bool| if transposed { (1, rows) } else { (columns, 1) };
    let (a_batch, b_batch) =
        (broadcast_strides(&a.sizes()[..a.rank() - 2], batch), broadcast_strides(&b.sizes()[..b.rank() - 2], batch));
    let (af, bf) = (a.to_floats(), b.to_floats());
    if !a.data_type().is_float() && !sums_are_exact(&af, &bf, k) {
        return Ok(None);
    }
    let mut y = vec![0.0; y_sizes.iter().product()];
    let one = |index: usize, target: &mut [f64], threads: Threads| {
        let at = shape::unravel(index, batch);
        let view = |data, index: usize, size: usize, (row_stride, column_stride)| MatrixView {
            data,
            offset: index * size,
            row_stride,
            column_stride,
        };
        let a_view = view(&af, shape::ravel(&at, &a_batch), m * k, strides(m, k, op.transpose_a));
        let b_view = view(&bf, shape::ravel(&at, &b_batch), k * n, strides(k, n, op.transpose_b));
        product(m, n, k, a_view, b_view, target, threads);
    };
    let target = (m * n).max(1);
    if y.len() / target >= 2 * rayon::current_num_threads() {
        y.par_chunks_mut(target).enumerate().for_each(|(index, target)| one(index, target, Threads::One));
    } else {
        y.chunks_mut(target).enumerate().for_each(|(index, target)| one(index, target, Threads::All));
    }
    Ok(Some(vec![rounded(a.data_type(), &y_sizes, &y)?]))
}
