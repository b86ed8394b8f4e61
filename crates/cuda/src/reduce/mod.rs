//! Reductions: one value, one position or one distribution for each group of elements.

pub mod arg;
pub mod cumulative;
pub mod groups;
pub mod reduction;
pub mod softmax;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] =
    &[&reduction::REDUCTION, &arg::ARG_REDUCE, &softmax::SOFTMAX, &cumulative::CUMULATIVE];
