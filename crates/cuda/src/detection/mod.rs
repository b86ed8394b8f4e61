//! Detection of objects.

pub mod non_max_suppression;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&non_max_suppression::NON_MAX_SUPPRESSION];
