//! Convolutions.

pub mod generic;
pub mod implicit_gemm;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&implicit_gemm::IMPLICIT_GEMM, &generic::GENERIC];
