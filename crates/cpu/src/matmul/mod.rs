//! Matrix products.
//!
//! `gemm.rs` is the blocked product that convolution shares, `microkernel.rs` its innermost tile, `equation.rs` reads
//! the equations of Einstein sums.

pub mod determinant;
pub mod einsum;
pub mod equation;
pub mod gated;
pub mod gemm;
pub mod matmul;
pub mod microkernel;
pub mod panels;

use sinter_backend::Proposer;
use sinter_ops::{Op, OpKind};

use crate::fused::propose::{Gate, Heavy};
use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] =
    &[&panels::PANELS, &gated::GATED, &matmul::BLOCKED, &matmul::GENERIC, &einsum::EINSUM, &determinant::DETERMINANT];

/// Products with weights.
pub const PRODUCTS: Heavy =
    Heavy { kind: OpKind::MatMul, shares_operand: |op| matches!(op, Op::MatMul(op) if !op.transpose_a) };

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&PRODUCTS, &Gate(PRODUCTS)];
