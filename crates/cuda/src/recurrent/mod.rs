//! Recurrent layers.

pub mod steps;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&steps::STEPS];
