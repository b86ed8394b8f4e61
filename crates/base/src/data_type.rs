//! Element types of tensors.
//!
//! The set is that of ONNX 1.21 without the complex types, which no supported network contains: transforms keep real
//! and imaginary parts in a last dimension of two, as ONNX's DFT does.

use std::fmt;
use std::str::FromStr;

use crate::attribute::{Attr, Attribute, AttributeError};
use crate::halves::{bf16_of, f16_of};
use crate::minifloat::MiniFloat;

macro_rules! data_types {
    ($($(#[$doc:meta])* $variant:ident $name:literal $bits:literal $class:ident;)*) => {
        /// The type of one element.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DataType { $($(#[$doc])* $variant,)* }

        impl DataType {
            /// Every data type, in declaration order.
            pub const ALL: &'static [DataType] = &[$(DataType::$variant),*];

            /// The short name used in text forms, kernel names and reports.
            pub const fn name(self) -> &'static str {
                match self { $(DataType::$variant => $name),* }
            }

            /// Bits of one element in packed storage; 0 for strings, which have no fixed size.
            pub const fn bits(self) -> usize {
                match self { $(DataType::$variant => $bits),* }
            }

            const fn class(self) -> Class {
                match self { $(DataType::$variant => Class::$class),* }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Float,
    Signed,
    Unsigned,
    Bool,
    Text,
}

data_types! {
    /// IEEE 754 binary64.
    F64 "f64" 64 Float;
    /// IEEE 754 binary32.
    F32 "f32" 32 Float;
    /// IEEE 754 binary16.
    F16 "f16" 16 Float;
    /// The upper half of a binary32: 8 exponent bits, 7 mantissa bits.
    Bf16 "bf16" 16 Float;
    /// OCP FP8 E4M3: no infinities, one NaN pattern per sign, maximum 448.
    F8E4M3FN "f8e4m3fn" 8 Float;
    /// FP8 E4M3 with bias 8, no negative zero, one NaN (0x80), maximum 240.
    F8E4M3FNUZ "f8e4m3fnuz" 8 Float;
    /// OCP FP8 E5M2: IEEE-like, with infinities, maximum 57344.
    F8E5M2 "f8e5m2" 8 Float;
    /// FP8 E5M2 with bias 16, no infinities, no negative zero, one NaN (0x80).
    F8E5M2FNUZ "f8e5m2fnuz" 8 Float;
    /// OCP MX scale: an exponent only, 2^(bits - 127), 0xFF is NaN.
    F8E8M0 "f8e8m0" 8 Float;
    /// OCP FP4 E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
    F4E2M1 "f4e2m1" 4 Float;
    /// Signed 64-bit integer.
    I64 "i64" 64 Signed;
    /// Signed 32-bit integer.
    I32 "i32" 32 Signed;
    /// Signed 16-bit integer.
    I16 "i16" 16 Signed;
    /// Signed 8-bit integer.
    I8 "i8" 8 Signed;
    /// Signed 4-bit integer, two per byte, low half first.
    I4 "i4" 4 Signed;
    /// Signed 2-bit integer, four per byte, low bits first.
    I2 "i2" 2 Signed;
    /// Unsigned 64-bit integer.
    U64 "u64" 64 Unsigned;
    /// Unsigned 32-bit integer.
    U32 "u32" 32 Unsigned;
    /// Unsigned 16-bit integer.
    U16 "u16" 16 Unsigned;
    /// Unsigned 8-bit integer.
    U8 "u8" 8 Unsigned;
    /// Unsigned 4-bit integer, two per byte, low half first.
    U4 "u4" 4 Unsigned;
    /// Unsigned 2-bit integer, four per byte, low bits first.
    U2 "u2" 2 Unsigned;
    /// One byte, 0 or 1.
    Bool "bool" 8 Bool;
    /// UTF-8 text; host only.
    String "string" 0 Text;
}

impl DataType {
    /// Any floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self.class(), Class::Float)
    }

    /// Signed or unsigned integer (not bool).
    pub const fn is_integer(self) -> bool {
        matches!(self.class(), Class::Signed | Class::Unsigned)
    }

    /// Signed integer.
    pub const fn is_signed_integer(self) -> bool {
        matches!(self.class(), Class::Signed)
    }

    /// Unsigned integer (not bool).
    pub const fn is_unsigned_integer(self) -> bool {
        matches!(self.class(), Class::Unsigned)
    }

    /// Elements share bytes in storage.
    pub const fn is_packed(self) -> bool {
        self.bits() != 0 && self.bits() < 8
    }

    /// Bytes that `count` elements take, the last byte padded; `None` for strings and on overflow.
    pub const fn bytes_for(self, count: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits if bits >= 8 => count.checked_mul(bits / 8),
            bits => Some(count.div_ceil(8 / bits)),
        }
    }

    /// Smallest and largest value of an integer type or bool.
    pub const fn integer_range(self) -> Option<(i128, i128)> {
        let bits = self.bits() as u32;
        match self.class() {
            Class::Signed => Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)),
            Class::Unsigned => Some((0, (1i128 << bits) - 1)),
            Class::Bool => Some((0, 1)),
            Class::Float | Class::Text => None,
        }
    }

    /// Wraps an integer into this type as two's complement does; bool becomes `value != 0`. Other types: unchanged.
    pub const fn wrap(self, value: i128) -> i128 {
        let bits = self.bits() as u32;
        match self.class() {
            Class::Signed => {
                let shift = 128 - bits;
                (value << shift) >> shift
            }
            Class::Unsigned => value & ((1i128 << bits) - 1),
            Class::Bool => (value != 0) as i128,
            Class::Float | Class::Text => value,
        }
    }

    /// Layout of the 4- and 8-bit floating-point types.
    pub const fn mini_float(self) -> Option<MiniFloat> {
        match self {
            DataType::F8E4M3FN => Some(MiniFloat::E4M3FN),
            DataType::F8E4M3FNUZ => Some(MiniFloat::E4M3FNUZ),
            DataType::F8E5M2 => Some(MiniFloat::E5M2),
            DataType::F8E5M2FNUZ => Some(MiniFloat::E5M2FNUZ),
            DataType::F8E8M0 => Some(MiniFloat::E8M0),
            DataType::F4E2M1 => Some(MiniFloat::E2M1),
            _ => None,
        }
    }

    /// Rounds a float to the nearest value of this floating-point type (ties to even); other types: unchanged.
    pub fn round(self, value: f64) -> f64 {
        match self {
            DataType::F32 => f64::from(value as f32),
            DataType::F16 => f16_of(value).to_f64(),
            DataType::Bf16 => bf16_of(value).to_f64(),
            other => match other.mini_float() {
                Some(format) => format.decode(format.encode(value, crate::minifloat::Overflow::Saturate)),
                None => value,
            },
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no data type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a data type; known are f64 f32 f16 bf16 f8e4m3fn ... i64 ... u8 bool string")]
pub struct UnknownDataType(pub String);

impl FromStr for DataType {
    type Err = UnknownDataType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DataType::ALL.iter().copied().find(|t| t.name() == text).ok_or_else(|| UnknownDataType(text.to_owned()))
    }
}

impl Attribute for DataType {
    fn to_attr(&self) -> Attr {
        Attr::Name(self.name().to_owned())
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::Name(name) => name.parse().map_err(|e: UnknownDataType| AttributeError::new(e.to_string())),
            other => Err(AttributeError::expected("a data type", other)),
        }
    }

    fn schema() -> String {
        "data type".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for &data_type in DataType::ALL {
            assert_eq!(data_type.name().parse::<DataType>().unwrap(), data_type);
        }
        assert!("float".parse::<DataType>().is_err());
    }

    #[test]
    fn integers_wrap_like_twos_complement() {
        assert_eq!(DataType::I8.wrap(200), -56);
        assert_eq!(DataType::U8.wrap(-1), 255);
        assert_eq!(DataType::I4.wrap(9), -7);
        assert_eq!(DataType::U64.wrap(-1), i128::from(u64::MAX));
        assert_eq!(DataType::Bool.wrap(7), 1);
    }

    #[test]
    fn packed_types_round_up_to_bytes() {
        assert_eq!(DataType::I4.bytes_for(3), Some(2));
        assert_eq!(DataType::U2.bytes_for(5), Some(2));
        assert_eq!(DataType::F32.bytes_for(usize::MAX), None);
        assert_eq!(DataType::String.bytes_for(1), None);
    }
}
