//! Kernels that move elements.

pub mod copy;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&copy::RESHAPE];
