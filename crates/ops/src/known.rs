//! Known contents: inference sees the contents of small tensors, since they may be shapes, axes or sizes.

use sinter_base::{TensorType, Value, ValueType};

/// Inference sees the contents of tensors of at most this many elements.
pub const MAX_KNOWN: usize = 1024;

/// The type of a value, with its contents if the tensor is small.
pub fn known_type(value: &Value) -> ValueType {
    match value.as_tensor() {
        Some(tensor) if tensor.count() > MAX_KNOWN => TensorType::new(tensor.data_type(), tensor.sizes().into()).into(),
        _ => value.value_type(),
    }
}
