//! Elementwise programs.
//!
//! `cuda.pointwise.program` runs any scalar program, as code that is generated from its steps.

pub mod program;
pub mod scalar;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&program::PROGRAM];
