//! Normalizations: elements divided by a measure of the elements that they are grouped with.

pub mod local_response;
pub mod normalize;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&normalize::NORMALIZE, &local_response::LOCAL_RESPONSE];
