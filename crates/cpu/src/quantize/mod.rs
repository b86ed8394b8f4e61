//! Between stored and real values.
//!
//! [`spans`] says which elements share a scale; [`quantize`] and [`dequantize`] run along spans.

pub mod dequantize;
pub mod parameters;
#[allow(clippy::module_inception, reason = "the kernel of the family's name")]
pub mod quantize;
pub mod spans;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] =
    &[&quantize::TO_INTEGERS, &quantize::GENERIC, &dequantize::TO_F32, &dequantize::GENERIC];
