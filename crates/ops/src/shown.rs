//! What inference sees of values at run time: small tensors show their contents, since they may be shapes, axes or sizes.

use sinter_base::{TensorType, Value, ValueType};

/// Tensors of at most this many elements show their contents.
pub const MAX_SHOWN: usize = 1024;

/// The type of a value as inference sees it.
pub fn shown_type(value: &Value) -> ValueType {
    match value.as_tensor() {
        Some(tensor) if tensor.count() > MAX_SHOWN => TensorType::new(tensor.data_type(), tensor.sizes().into()).into(),
        _ => value.value_type(),
    }
}
