//! Images: elements between others, and regions.

pub mod resize;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&resize::RESIZE];
