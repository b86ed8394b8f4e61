//! Kernels for signal processing.
//!
//! `fourier.rs` is the fast transform of one line.

pub mod dft;
pub mod fourier;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&dft::DFT];
