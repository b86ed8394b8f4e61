//! Rust types that are stored as they are in tensors.

use bytemuck::Pod;

use crate::data_type::DataType;

/// A Rust type whose bytes are the storage of one data type. Booleans are stored as `u8` and read with
/// [`Tensor::to_ints`](crate::Tensor::to_ints).
pub trait Element: Pod + PartialEq + std::fmt::Debug + Send + Sync {
    /// The data type stored by this type.
    const DATA_TYPE: DataType;
}

macro_rules! elements {
    ($($t:ty => $data_type:ident),* $(,)?) => {$(
        impl Element for $t {
            const DATA_TYPE: DataType = DataType::$data_type;
        }
    )*};
}

elements! {
    f64 => F64, f32 => F32, half::f16 => F16, half::bf16 => Bf16,
    i64 => I64, i32 => I32, i16 => I16, i8 => I8,
    u64 => U64, u32 => U32, u16 => U16, u8 => U8,
}
