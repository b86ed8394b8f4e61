//! Kernels that make random numbers.

pub mod fill;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&fill::FILL];
