//! Products of matrices, sums of products by an equation, and determinants.

pub mod determinant;
pub mod einsum;
pub mod tiled;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&tiled::TILED, &einsum::EINSUM, &determinant::DETERMINANT];
