//! Products of matrices.

pub mod tiled;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&tiled::TILED];
