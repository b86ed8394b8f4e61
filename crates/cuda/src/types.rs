//! Element types in the text of kernels.

use sinter_base::DataType;

/// The type of an element in memory, as `include/types.cuh` defines it; `None` for strings.
pub fn element(data_type: DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::F64 => "double",
        DataType::F32 => "float",
        DataType::F16 => "f16",
        DataType::Bf16 => "bf16",
        DataType::F8E4M3FN => "f8e4m3fn",
        DataType::F8E4M3FNUZ => "f8e4m3fnuz",
        DataType::F8E5M2 => "f8e5m2",
        DataType::F8E5M2FNUZ => "f8e5m2fnuz",
        DataType::F8E8M0 => "f8e8m0",
        DataType::F4E2M1 => "f4e2m1",
        DataType::I64 => "i64",
        DataType::I32 => "i32",
        DataType::I16 => "i16",
        DataType::I8 => "i8",
        DataType::I4 => "i4",
        DataType::I2 => "i2",
        DataType::U64 => "u64",
        DataType::U32 => "u32",
        DataType::U16 => "u16",
        DataType::U8 => "u8",
        DataType::U4 => "u4",
        DataType::U2 => "u2",
        DataType::Bool => "boolean",
        DataType::String => return None,
    })
}

/// The type that carries a value in registers: floats of at most 32 bits in f32, integers and bools in 64 bits (u64 as
/// its bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Floats of at most 32 bits.
    F32,
    /// Float64.
    F64,
    /// Integers and bools.
    I64,
}

impl Kind {
    /// The kind that carries a data type; strings have none.
    pub fn of(data_type: DataType) -> Option<Self> {
        match data_type {
            DataType::F64 => Some(Self::F64),
            DataType::String => None,
            t if t.is_float() => Some(Self::F32),
            _ => Some(Self::I64),
        }
    }

    /// Its type in the text of kernels.
    pub fn text(self) -> &'static str {
        match self {
            Self::F32 => "float",
            Self::F64 => "double",
            Self::I64 => "i64",
        }
    }
}

/// The type of sums that decide between neighbours of a coarse type: integers and floats of at most eight bits lie so far
/// apart that sums in float32 and in float64 often fall on different sides of a middle.
pub fn careful_sums(data_type: DataType) -> &'static str {
    if data_type == DataType::F64 || !data_type.is_float() || data_type.bits() <= 8 { "double" } else { "float" }
}

/// The unsigned type of as many bytes as an element takes, for kernels that move elements.
pub fn moved(bytes: usize) -> Option<&'static str> {
    match bytes {
        1 => Some("u8"),
        2 => Some("u16"),
        4 => Some("u32"),
        8 => Some("u64"),
        _ => None,
    }
}
