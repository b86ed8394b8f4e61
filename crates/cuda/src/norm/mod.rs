//! Normalizations: elements divided by a measure of the elements that they are grouped with.

pub mod normalize;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&normalize::NORMALIZE];
