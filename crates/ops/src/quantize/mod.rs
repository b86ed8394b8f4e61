//! Between real values and stored ones: `real = (stored - zero point) * scale`.

pub mod dequantize;
pub mod parameters;
#[allow(clippy::module_inception, reason = "the operator of the family's name")]
pub mod quantize;

pub use dequantize::Dequantize;
pub use quantize::Quantize;
