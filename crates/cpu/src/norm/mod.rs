//! Normalization.
//!
//! [`normalize`] with its shapes from [`groups`], [`rows`] with a pointwise epilogue, and [`local_response`].

pub mod groups;
pub mod local_response;
pub mod normalize;
pub mod rows;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::fused::propose::Heavy;
use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&rows::ROWS, &normalize::NORMALIZE, &local_response::LOCAL_RESPONSE];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&Heavy { kind: OpKind::Normalize, shares_operand: |_| false }];
