//! Movement of elements of any type: all of these are one copy between two strided views.

pub mod copy;
pub mod moves;
pub mod pad;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] =
    &[&moves::RESHAPE, &moves::TRANSPOSE, &moves::SLICE, &moves::EXPAND, &moves::TILE, &moves::CONCAT, &pad::PAD];
