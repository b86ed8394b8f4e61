//! Convolutions.

pub mod direct;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&direct::DIRECT];
