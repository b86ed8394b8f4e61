//! Signals.

pub mod dft;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&dft::DFT];
