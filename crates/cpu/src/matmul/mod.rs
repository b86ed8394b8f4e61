//! Matrix products.
//!
//! `gemm.rs` is the blocked product that convolution shares, `microkernel.rs` its innermost tile.

pub mod gemm;
pub mod matmul;
pub mod microkernel;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&matmul::BLOCKED, &matmul::GENERIC];
