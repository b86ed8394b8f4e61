//! Normalization.
//!
//! [`normalize`] with its shapes from [`groups`], and [`local_response`].

pub mod groups;
pub mod local_response;
pub mod normalize;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&normalize::NORMALIZE, &local_response::LOCAL_RESPONSE];
