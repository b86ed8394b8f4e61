//! Attention and its positions.

pub mod rotary;
pub mod rows;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&rows::ROWS, &rotary::ROTARY];
