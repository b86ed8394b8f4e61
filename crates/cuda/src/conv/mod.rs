//! Convolutions.

pub mod direct;
pub mod mma;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::epilogue::WithEpilogue;
use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&mma::Mma, &direct::DIRECT];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&WithEpilogue(OpKind::Convolution)];
