//! Convolutions.

pub mod channels_last;
pub mod col2im;
pub mod deformable;
pub mod depthwise;
pub mod depthwise_channels_last;
pub mod generic;
mod geometry;
pub mod implicit_gemm;
pub mod pooled;
pub mod scatter;
pub mod separable;
pub mod transposed;

use sinter_backend::Proposer;
use sinter_ops::{Op, OpKind};

use crate::fused::propose::{Heavy, Pair};
use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &separable::SEPARABLE,
    &pooled::POOLED,
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

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[
    &Heavy { kind: OpKind::Convolution, shares_operand: |op| matches!(op, Op::Convolution(op) if op.groups == 1) },
    &Pair {
        first: |op| matches!(op, Op::Convolution(op) if op.groups > 1),
        second: |op| matches!(op, Op::Convolution(op) if op.groups == 1),
    },
    &Pair {
        first: |op| matches!(op, Op::Convolution(op) if op.groups == 1),
        second: |op| matches!(op, Op::Pool(op) if op.window.is_some()),
    },
];
