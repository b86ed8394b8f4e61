//! Attention and its positions.
//!
//! `flash.rs` describes attention to the kernels of tensor cores, `cost.rs` ranks their recipes.

pub(crate) mod cost;
pub(crate) mod flash;
pub mod mma;
pub(crate) mod operands;
pub mod rotary;
pub mod rows;
pub mod wgmma;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&wgmma::Wgmma, &mma::Mma, &rows::ROWS, &rotary::ROTARY];
