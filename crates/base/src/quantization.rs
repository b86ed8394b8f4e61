//! How quantized values map to real ones: `real = (stored - zero_point) * scale`.

use crate::Attributes;

/// Which elements share one scale (ONNX QuantizeLinear-21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Attributes)]
pub enum Granularity {
    /// One scale for the whole tensor.
    Tensor,
    /// One scale per index of `axis`.
    Axis {
        /// Axis of the quantized tensor, non-negative.
        axis: usize,
    },
    /// One scale per `size` consecutive indices of `axis`.
    Block {
        /// Axis along which blocks run.
        axis: usize,
        /// Indices per block; the last block may be shorter.
        size: usize,
    },
}
