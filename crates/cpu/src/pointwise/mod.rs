//! Elementwise programs.
//!
//! `cpu.pointwise.program` runs any scalar program over columns of a few hundred elements that stay in the L1 cache.

pub mod column;
pub mod functions;
pub mod integer;
pub mod operand;
pub mod program;
pub mod real;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&program::PROGRAM];
