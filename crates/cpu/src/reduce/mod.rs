//! Kernels that look along axes: reductions, positions of extremes, softmax, running sums.

pub mod arg_reduce;
pub mod cumulative;
pub mod fold;
pub mod reduction;
pub mod softmax;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &reduction::FLOATS,
    &reduction::INTEGERS,
    &arg_reduce::ARG_REDUCE,
    &softmax::ROWS,
    &softmax::GENERIC,
    &cumulative::CUMULATIVE,
];
