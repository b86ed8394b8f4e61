//! Convolutions.

pub mod channels_last;
pub mod col2im;
pub mod deformable;
pub mod depthwise;
pub mod depthwise_channels_last;
pub mod generic;
mod geometry;
pub mod implicit_gemm;
pub mod scatter;
pub mod transposed;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &depthwise_channels_last::DEPTHWISE,
    &channels_last::CHANNELS_LAST,
    &depthwise::DEPTHWISE,
    &implicit_gemm::IMPLICIT_GEMM,
    &generic::GENERIC,
    &transposed::GEMM,
    &transposed::GENERIC,
    &deformable::DEFORMABLE,
    &col2im::COL2IM,
];
