//! Products of matrices, and sums of products by an equation.

pub mod einsum;
pub mod tiled;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&tiled::TILED, &einsum::EINSUM];
