//! Detection.

pub mod non_max_suppression;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&non_max_suppression::NON_MAX_SUPPRESSION];
