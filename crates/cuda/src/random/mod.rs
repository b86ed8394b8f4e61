//! Random numbers.

pub mod fill;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&fill::FILL];
