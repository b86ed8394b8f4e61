//! Columns: a few hundred values of one step of a program.
//!
//! Three kinds carry every data type: f32 for floats up to 32 bits (rounded to the narrow type after each operation),
//! f64, and i64 for integers and bools (u64 as its bits).

use bytemuck::{Pod, Zeroable};
use sinter_base::DataType;

/// Elements per column.
pub const LENGTH: usize = 256;

/// The source of a column.
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
            DataType::F64 => Some(Kind::F64),
            DataType::String => None,
            t if t.is_float() => Some(Kind::F32),
            _ => Some(Kind::I64),
        }
    }
}

/// Storage for one column, whatever its kind. Kinds do not share memory: a program has few steps.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Column {
    /// As f32.
    pub f32: [f32; LENGTH],
    /// As f64.
    pub f64: [f64; LENGTH],
    /// As i64.
    pub i64: [i64; LENGTH],
}

/// The byte of an integer of at most eight bits, or of a float's code, while a network runs: signed integers sign-extended,
/// see `sinter_base::view`.
#[inline(always)]
pub fn code_of(data_type: DataType, value: i64) -> u8 {
    match data_type {
        DataType::Bool => u8::from(value != 0),
        DataType::I8 | DataType::I4 | DataType::I2 => wrap(data_type, value) as u8,
        _ => value as u8 & u8::MAX >> (8 - data_type.bits()),
    }
}

/// Wraps an i64 into an integer type as two's complement does.
#[inline(always)]
pub fn wrap(data_type: DataType, value: i64) -> i64 {
    match data_type {
        DataType::I32 => i64::from(value as i32),
        DataType::I16 => i64::from(value as i16),
        DataType::I8 => i64::from(value as i8),
        DataType::I4 => (value << 60) >> 60,
        DataType::I2 => (value << 62) >> 62,
        DataType::U32 => i64::from(value as u32),
        DataType::U16 => i64::from(value as u16),
        DataType::U8 => i64::from(value as u8),
        DataType::U4 => value & 15,
        DataType::U2 => value & 3,
        DataType::Bool => i64::from(value != 0),
        _ => value,
    }
}
