//! Convolutions.
//!
//! `convolved.rs` describes a convolution to the kernels of tensor cores, `channels.rs` one of images with the channels last.

pub(crate) mod channels;
pub mod col2im;
pub(crate) mod convolved;
pub mod deformable;
pub mod depthwise;
pub mod direct;
pub mod mma;
pub mod mma_halo;
pub mod mma_nhwc;
pub mod transposed;
pub mod wgmma;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::fused::WithEpilogue;
use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[
    &depthwise::Depthwise,
    &wgmma::Wgmma,
    &mma_nhwc::MmaNhwc,
    &mma_halo::MmaHalo,
    &mma::Mma,
    &direct::DIRECT,
    &transposed::TRANSPOSED,
    &deformable::DEFORMABLE,
    &col2im::COL2IM,
];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&WithEpilogue(OpKind::Convolution)];
