//! Detection.

pub mod non_max_suppression;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&non_max_suppression::NON_MAX_SUPPRESSION];
