//! Kernels for signal processing.
//!
//! `fourier.rs` is the fast transform of one line.

pub mod dft;
pub mod fourier;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&dft::DFT];
