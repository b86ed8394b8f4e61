//! Convolutions.

pub mod col2im;
pub mod deformable;
pub mod direct;
pub mod mma;
pub mod transposed;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::epilogue::WithEpilogue;
use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] =
    &[&mma::Mma, &direct::DIRECT, &transposed::TRANSPOSED, &deformable::DEFORMABLE, &col2im::COL2IM];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&WithEpilogue(OpKind::Convolution)];
