//! Convolutions.

pub mod direct;
pub mod transposed;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&direct::DIRECT, &transposed::TRANSPOSED];
