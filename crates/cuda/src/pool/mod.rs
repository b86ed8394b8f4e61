//! Pooling: one value for each window.

pub mod windows;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&windows::WINDOWS];
