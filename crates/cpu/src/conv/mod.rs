//! Convolutions.

pub mod col2im;
pub mod deformable;
pub mod depthwise;
pub mod generic;
pub mod implicit_gemm;
pub mod scatter;
pub mod transposed;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[
    &depthwise::DEPTHWISE,
    &implicit_gemm::IMPLICIT_GEMM,
    &generic::GENERIC,
    &transposed::GEMM,
    &transposed::GENERIC,
    &deformable::DEFORMABLE,
    &col2im::COL2IM,
];
