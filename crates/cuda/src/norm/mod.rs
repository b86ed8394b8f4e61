//! Normalizations: elements divided by a measure of the elements that they are grouped with.

pub mod local_response;
pub mod normalize;
pub mod rows;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::epilogue::WithEpilogue;
use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&rows::ROWS, &normalize::NORMALIZE, &local_response::LOCAL_RESPONSE];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&WithEpilogue(OpKind::Normalize)];
