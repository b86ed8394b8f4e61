//! Normalization.
//!
//! [`normalize`] with its shapes from [`groups`], [`rows`] with a pointwise operator behind, and [`local_response`].

pub mod groups;
pub mod local_response;
pub mod normalize;
pub mod rows;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&rows::ROWS, &normalize::NORMALIZE, &local_response::LOCAL_RESPONSE];
