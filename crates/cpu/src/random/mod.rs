//! Kernels that make random numbers.

pub mod fill;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&fill::FILL];
