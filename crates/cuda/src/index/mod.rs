//! Elements picked by indices in memory.

pub mod gather;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&gather::GATHER];
