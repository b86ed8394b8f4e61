//! Kernels that look along axes: reductions, positions of extremes, softmax, running sums.

pub mod arg_reduce;
pub mod cumulative;
pub mod fold;
pub mod reduction;
pub mod softmax;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[
    &reduction::FLOATS,
    &reduction::INTEGERS,
    &arg_reduce::ARG_REDUCE,
    &softmax::ROWS,
    &softmax::GENERIC,
    &cumulative::CUMULATIVE,
];
