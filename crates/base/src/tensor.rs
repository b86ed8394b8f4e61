//! Host tensors: a data type, concrete sizes, and shared immutable bytes in row-major order.
//!
//! The bytes may lie in a mapped file and be unaligned there; [`Tensor::elements`] copies only in that case.
//! Types below eight bits are packed, low bits first, as ONNX stores them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::data_type::DataType;
use crate::element::Element;
use crate::halves::{bf16_of, f16_of, float_of};
use crate::minifloat::Overflow;
use crate::shape::{self, Sizes};

/// An immutable tensor on the host; cloning shares the data.
#[derive(Clone)]
pub struct Tensor {
    data_type: DataType,
    sizes: Sizes,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Bytes(Bytes),
    Strings(Arc<[String]>),
}

/// An error about data that does not fit the requested tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// More elements than can be addressed.
    #[error("a tensor of sizes {sizes:?} has too many elements")]
    TooLarge {
        /// The sizes asked for.
        sizes: Vec<usize>,
    },
    /// The system has not so much memory.
    #[error("the system gives no {bytes} bytes of memory for a tensor")]
    Memory {
        /// Requested bytes.
        bytes: usize,
    },
    /// Bytes or elements do not match the sizes.
    #[error("{data_type} tensor of sizes {sizes:?} needs {expected} bytes or elements, found {found}")]
    Length {
        /// Element type.
        data_type: DataType,
        /// Sizes asked for.
        sizes: Vec<usize>,
        /// Bytes that the sizes need.
        expected: usize,
        /// Given bytes.
        found: usize,
    },
    /// The tensor has another element type.
    #[error("expected a {expected} tensor, found {found}")]
    DataType {
        /// The type asked for.
        expected: DataType,
        /// The type of the tensor.
        found: DataType,
    },
}

/// Lets `Bytes` own a typed vector.
struct VecOwner<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for VecOwner<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn checked_count(data_type: DataType, sizes: &[usize]) -> Result<(usize, usize), TensorError> {
    let too_large = || TensorError::TooLarge { sizes: sizes.to_vec() };
    let count = shape::element_count(sizes).ok_or_else(too_large)?;
    let bytes = if data_type == DataType::String { 0 } else { data_type.bytes_for(count).ok_or_else(too_large)? };
    if bytes > isize::MAX as usize {
        return Err(too_large());
    }
    Ok((count, bytes))
}

impl Tensor {
    /// A tensor over raw row-major bytes, packed below eight bits.
    ///
    /// # Errors
    /// When the byte count is not what type and sizes need.
    pub fn from_bytes(data_type: DataType, sizes: &[usize], bytes: Bytes) -> Result<Self, TensorError> {
        let (_, expected) = checked_count(data_type, sizes)?;
        if data_type == DataType::String || bytes.len() != expected {
            return Err(TensorError::Length { data_type, sizes: sizes.to_vec(), expected, found: bytes.len() });
        }
        Ok(Self { data_type, sizes: Sizes::from_slice(sizes), data: Data::Bytes(bytes) })
    }

    /// A tensor that takes over a vector.
    ///
    /// # Errors
    /// When the element count does not match the sizes.
    pub fn from_vec<T: Element>(sizes: &[usize], elements: Vec<T>) -> Result<Self, TensorError> {
        let (count, _) = checked_count(T::DATA_TYPE, sizes)?;
        if count != elements.len() {
            let found = elements.len();
            return Err(TensorError::Length { data_type: T::DATA_TYPE, sizes: sizes.to_vec(), expected: count, found });
        }
        let bytes = if elements.is_empty() { Bytes::new() } else { Bytes::from_owner(VecOwner(elements)) };
        Ok(Self { data_type: T::DATA_TYPE, sizes: Sizes::from_slice(sizes), data: Data::Bytes(bytes) })
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// When the element count does not match the sizes.
    pub fn from_strings(sizes: &[usize], elements: Vec<String>) -> Result<Self, TensorError> {
        let data_type = DataType::String;
        let (expected, _) = checked_count(data_type, sizes)?;
        if expected != elements.len() {
            let found = elements.len();
            return Err(TensorError::Length { data_type, sizes: sizes.to_vec(), expected, found });
        }
        Ok(Self { data_type, sizes: Sizes::from_slice(sizes), data: Data::Strings(elements.into()) })
    }

    /// A tensor of any numeric type from floats, rounded to nearest even; integers truncate and saturate, bool is
    /// `value != 0`, 8-bit floats saturate.
    ///
    /// # Errors
    /// When the element count does not match the sizes, or the type is string.
    pub fn from_floats(data_type: DataType, sizes: &[usize], values: &[f64]) -> Result<Self, TensorError> {
        match data_type {
            // Strings cannot be made from numbers here: conversion to text is an operator.
            DataType::String => return Err(TensorError::DataType { expected: DataType::F64, found: data_type }),
            DataType::F64 => return Self::from_vec(sizes, values.to_vec()),
            DataType::F32 => return Self::from_vec(sizes, values.iter().map(|&v| v as f32).collect()),
            DataType::F16 => {
                return Self::from_vec(sizes, values.iter().map(|&v| f16_of(v)).collect());
            }
            DataType::Bf16 => {
                return Self::from_vec(sizes, values.iter().map(|&v| bf16_of(v)).collect());
            }
            _ => {}
        }
        if let Some(format) = data_type.mini_float() {
            let codes = values.iter().map(|&v| format.encode(v, Overflow::Saturate)).collect();
            return Self::from_codes(data_type, sizes, codes);
        }
        // A cast of a float saturates and makes 0 of NaN.
        macro_rules! vec_of {
            ($t:ty) => {
                Self::from_vec(sizes, values.iter().map(|&v| v as $t).collect::<Vec<$t>>())
            };
        }
        match data_type {
            DataType::I64 => return vec_of!(i64),
            DataType::I32 => return vec_of!(i32),
            DataType::I16 => return vec_of!(i16),
            DataType::I8 => return vec_of!(i8),
            DataType::U64 => return vec_of!(u64),
            DataType::U32 => return vec_of!(u32),
            DataType::U16 => return vec_of!(u16),
            DataType::U8 => return vec_of!(u8),
            _ => {}
        }
        let (low, high) = data_type.integer_range().unwrap_or((0, 0));
        let integers: Vec<i128> = values
            .iter()
            .map(|&v| if data_type == DataType::Bool { i128::from(v != 0.0) } else { (v as i128).clamp(low, high) })
            .collect();
        Self::from_ints(data_type, sizes, &integers)
    }

    /// A tensor of an integer type or bool, values wrapped to the type; for a float type the values are rounded.
    ///
    /// # Errors
    /// When the element count does not match the sizes, or the type is string.
    pub fn from_ints(data_type: DataType, sizes: &[usize], values: &[i128]) -> Result<Self, TensorError> {
        macro_rules! vec_of {
            ($t:ty) => {
                Self::from_vec(sizes, values.iter().map(|&v| data_type.wrap(v) as $t).collect::<Vec<$t>>())
            };
        }
        match data_type {
            DataType::I64 => vec_of!(i64),
            DataType::I32 => vec_of!(i32),
            DataType::I16 => vec_of!(i16),
            DataType::I8 => vec_of!(i8),
            DataType::U64 => vec_of!(u64),
            DataType::U32 => vec_of!(u32),
            DataType::U16 => vec_of!(u16),
            DataType::U8 => vec_of!(u8),
            DataType::Bool | DataType::I4 | DataType::I2 | DataType::U4 | DataType::U2 => {
                let mask = if data_type == DataType::Bool { 1 } else { (1u8 << data_type.bits()) - 1 };
                let codes = values.iter().map(|&v| data_type.wrap(v) as u8 & mask).collect();
                Self::from_codes(data_type, sizes, codes)
            }
            _ => {
                let float = |&v: &i128| if data_type == DataType::F64 { v as f64 } else { float_of(v) };
                let floats: Vec<f64> = values.iter().map(float).collect();
                Self::from_floats(data_type, sizes, &floats)
            }
        }
    }

    /// A tensor from one code of at most eight bits per element, packed here where the type asks for it.
    ///
    /// # Errors
    /// When the element count does not match the sizes, or the type is wider than eight bits.
    pub fn from_codes(data_type: DataType, sizes: &[usize], codes: Vec<u8>) -> Result<Self, TensorError> {
        let (count, _) = checked_count(data_type, sizes)?;
        if codes.len() != count || !(1..=8).contains(&data_type.bits()) {
            let found = codes.len();
            return Err(TensorError::Length { data_type, sizes: sizes.to_vec(), expected: count, found });
        }
        let bytes = if data_type.is_packed() {
            let per_byte = 8 / data_type.bits();
            let pack = |group: &[u8]| {
                group.iter().enumerate().fold(0u8, |byte, (i, code)| byte | (code << (i * data_type.bits())))
            };
            codes.chunks(per_byte).map(pack).collect()
        } else {
            codes
        };
        Self::from_bytes(data_type, sizes, bytes.into())
    }

    /// A scalar tensor of any numeric type.
    ///
    /// # Panics
    /// For the string type.
    pub fn scalar(data_type: DataType, value: f64) -> Self {
        Self::from_floats(data_type, &[], &[value]).expect("a numeric type")
    }

    /// A one-dimensional tensor of 64-bit integers.
    pub fn of_i64(values: &[i64]) -> Self {
        Self::from_vec(&[values.len()], values.to_vec()).expect("the length is that of the values")
    }

    /// Element type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Concrete sizes.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.sizes.len()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        shape::element_count(&self.sizes).unwrap_or(0)
    }

    /// The raw bytes; none for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Strings(_) => &[],
        }
    }

    /// The raw bytes, shared.
    pub fn shared_bytes(&self) -> Bytes {
        match &self.data {
            Data::Bytes(bytes) => bytes.clone(),
            Data::Strings(_) => Bytes::new(),
        }
    }

    fn must_be(&self, expected: DataType) -> Result<(), TensorError> {
        if self.data_type == expected { Ok(()) } else { Err(TensorError::DataType { expected, found: self.data_type }) }
    }

    /// The elements of a native type, borrowed when the bytes are aligned.
    ///
    /// # Errors
    /// When the tensor has another type.
    pub fn elements<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        self.must_be(T::DATA_TYPE)?;
        let bytes = self.bytes();
        Ok(match bytemuck::try_cast_slice(bytes) {
            Ok(slice) => Cow::Borrowed(slice),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
        })
    }

    /// The strings.
    ///
    /// # Errors
    /// When the tensor has another type.
    pub fn strings(&self) -> Result<&[String], TensorError> {
        self.must_be(DataType::String)?;
        match &self.data {
            Data::Strings(strings) => Ok(strings),
            Data::Bytes(_) => Ok(&[]),
        }
    }

    /// One code per element of a type of at most eight bits, unpacked, without sign extension.
    pub fn codes(&self) -> Cow<'_, [u8]> {
        let bytes = self.bytes();
        if !self.data_type.is_packed() {
            return Cow::Borrowed(bytes);
        }
        let bits = self.data_type.bits();
        let per_byte = 8 / bits;
        let mask = (1u8 << bits) - 1;
        Cow::Owned((0..self.count()).map(|i| (bytes[i / per_byte] >> (i % per_byte * bits)) & mask).collect())
    }

    /// Every element as a float, exact up to 53 bits; empty for strings.
    pub fn to_floats(&self) -> Vec<f64> {
        match self.data_type {
            DataType::F64 => self.convert::<f64, _>(|v| v),
            DataType::F32 => self.convert::<f32, _>(f64::from),
            DataType::F16 => self.convert::<half::f16, _>(half::f16::to_f64),
            DataType::Bf16 => self.convert::<half::bf16, _>(half::bf16::to_f64),
            DataType::I32 => self.convert::<i32, _>(f64::from),
            DataType::I16 => self.convert::<i16, _>(f64::from),
            DataType::I8 => self.convert::<i8, _>(f64::from),
            DataType::U16 => self.convert::<u16, _>(f64::from),
            DataType::U8 => self.convert::<u8, _>(f64::from),
            DataType::String => Vec::new(),
            other => match other.mini_float() {
                Some(format) => self.codes().iter().map(|&code| format.decode(code)).collect(),
                None => self.to_ints().into_iter().map(|v| v as f64).collect(),
            },
        }
    }

    /// Every element as an integer; floats truncate toward zero; empty for strings.
    pub fn to_ints(&self) -> Vec<i128> {
        match self.data_type {
            DataType::I64 => self.convert::<i64, _>(i128::from),
            DataType::I32 => self.convert::<i32, _>(i128::from),
            DataType::I16 => self.convert::<i16, _>(i128::from),
            DataType::I8 => self.convert::<i8, _>(i128::from),
            DataType::U64 => self.convert::<u64, _>(i128::from),
            DataType::U32 => self.convert::<u32, _>(i128::from),
            DataType::U16 => self.convert::<u16, _>(i128::from),
            DataType::U8 => self.convert::<u8, _>(i128::from),
            DataType::Bool | DataType::I4 | DataType::I2 | DataType::U4 | DataType::U2 => {
                self.codes().iter().map(|&code| self.data_type.wrap(i128::from(code))).collect()
            }
            DataType::String => Vec::new(),
            _ => self.to_floats().into_iter().map(|v| v as i128).collect(),
        }
    }

    /// Every element as a 64-bit integer (`u64` above `i64::MAX` saturates): sizes, indices, axes.
    pub fn to_i64(&self) -> Vec<i64> {
        self.to_ints()
            .into_iter()
            .map(|v| i64::try_from(v).unwrap_or(if v < 0 { i64::MIN } else { i64::MAX }))
            .collect()
    }

    /// Every element as `value != 0`.
    pub fn to_bools(&self) -> Vec<bool> {
        if self.data_type.is_float() {
            self.to_floats().into_iter().map(|v| v != 0.0).collect()
        } else {
            self.to_ints().into_iter().map(|v| v != 0).collect()
        }
    }

    fn convert<T: Element, R>(&self, f: impl Fn(T) -> R) -> Vec<R> {
        self.elements::<T>().map(|elements| elements.iter().map(|&v| f(v)).collect()).unwrap_or_default()
    }

    /// The same elements under other sizes.
    ///
    /// # Errors
    /// When the counts differ.
    pub fn reshaped(&self, sizes: &[usize]) -> Result<Self, TensorError> {
        let (expected, _) = checked_count(self.data_type, sizes)?;
        if expected != self.count() {
            let found = self.count();
            return Err(TensorError::Length { data_type: self.data_type, sizes: sizes.to_vec(), expected, found });
        }
        Ok(Self { data_type: self.data_type, sizes: Sizes::from_slice(sizes), data: self.data.clone() })
    }

    /// The same bits under another type of the same width.
    ///
    /// # Errors
    /// When the widths differ or one type is string.
    pub fn bit_cast(&self, data_type: DataType) -> Result<Self, TensorError> {
        if self.data_type.bits() != data_type.bits() || data_type == DataType::String {
            return Err(TensorError::DataType { expected: data_type, found: self.data_type });
        }
        Ok(Self { data_type, sizes: self.sizes.clone(), data: self.data.clone() })
    }

    /// Builds a tensor element by element: element `i` of the result is the element of this tensor at flat position
    /// `source(i)`, or the zero of the type (empty string) where that is `None`. The reference implementations use this
    /// function for all data movement, for every data type.
    ///
    /// # Errors
    /// When the result is too large.
    ///
    /// # Panics
    /// When a position lies outside the tensor.
    pub fn rearranged(
        &self,
        sizes: &[usize],
        mut source: impl FnMut(usize) -> Option<usize>,
    ) -> Result<Self, TensorError> {
        let (count, _) = checked_count(self.data_type, sizes)?;
        if let Data::Strings(strings) = &self.data {
            let picked = (0..count).map(|i| source(i).map(|s| strings[s].clone()).unwrap_or_default()).collect();
            return Self::from_strings(sizes, picked);
        }
        if self.data_type.bits() <= 8 {
            let codes = self.codes();
            let picked = (0..count).map(|i| source(i).map_or(0, |s| codes[s])).collect();
            return Self::from_codes(self.data_type, sizes, picked);
        }
        let width = self.data_type.bits() / 8;
        let bytes = self.bytes();
        let mut picked = vec![0u8; count * width];
        for (i, target) in picked.chunks_exact_mut(width).enumerate() {
            if let Some(s) = source(i) {
                target.copy_from_slice(&bytes[s * width..(s + 1) * width]);
            }
        }
        Self::from_bytes(self.data_type, sizes, picked.into())
    }

    /// The concatenation of all elements of several tensors of one type, as a flat tensor.
    ///
    /// # Errors
    /// When types differ or the result is too large.
    pub fn flat_concat(tensors: &[&Tensor]) -> Result<Self, TensorError> {
        let Some(first) = tensors.first() else { return Self::from_vec::<f32>(&[0], Vec::new()) };
        let data_type = first.data_type;
        for tensor in tensors {
            tensor.must_be(data_type)?;
        }
        let count = tensors.iter().map(|t| t.count()).sum();
        if data_type == DataType::String {
            let all = tensors.iter().flat_map(|t| t.strings().unwrap_or_default()).cloned().collect();
            return Self::from_strings(&[count], all);
        }
        if data_type.is_packed() {
            let codes = tensors.iter().flat_map(|t| t.codes().into_owned()).collect();
            return Self::from_codes(data_type, &[count], codes);
        }
        let bytes: Vec<u8> = tensors.iter().flat_map(|t| t.bytes()).copied().collect();
        Self::from_bytes(data_type, &[count], bytes.into())
    }
}

/// Bitwise equality of type, sizes and elements; bits beyond the last packed element do not count.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.data_type == other.data_type
            && self.sizes == other.sizes
            && match (&self.data, &other.data) {
                (Data::Bytes(_), Data::Bytes(_)) if self.data_type.is_packed() => self.codes() == other.codes(),
                (Data::Bytes(a), Data::Bytes(b)) => a == b,
                (Data::Strings(a), Data::Strings(b)) => a == b,
                _ => false,
            }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 12;
        write!(f, "{}{:?} ", self.data_type, self.sizes.as_slice())?;
        let mut list = f.debug_list();
        match self.data_type {
            DataType::String => list.entries(self.strings().unwrap_or_default().iter().take(SHOWN)),
            t if t.is_float() => list.entries(self.to_floats().iter().take(SHOWN)),
            _ => list.entries(self.to_ints().iter().take(SHOWN)),
        };
        if self.count() > SHOWN {
            list.entry(&format_args!(".."));
        }
        list.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_numeric_type_stores_small_integers() {
        for &data_type in DataType::ALL {
            if data_type == DataType::String {
                continue;
            }
            let values = if data_type == DataType::F8E8M0 { [1.0, 1.0, 1.0] } else { [0.0, 1.0, 1.0] };
            let tensor = Tensor::from_floats(data_type, &[3], &values).unwrap();
            assert_eq!(tensor.to_floats(), values, "{data_type}");
            assert_eq!(tensor.count(), 3);
        }
    }

    #[test]
    fn packed_elements_lie_low_half_first() {
        let tensor = Tensor::from_ints(DataType::I4, &[3], &[-8, 7, -1]).unwrap();
        assert_eq!(tensor.bytes(), [0x78, 0x0F]);
        assert_eq!(tensor.to_i64(), [-8, 7, -1]);
        let reversed = tensor.rearranged(&[3], |i| Some(2 - i)).unwrap();
        assert_eq!(reversed.to_i64(), [-1, 7, -8]);
    }

    #[test]
    fn unaligned_bytes_are_copied_not_refused() {
        let bytes = Bytes::from(vec![0u8, 0, 0, 128, 63, 0, 0, 0, 64]).slice(1..);
        let tensor = Tensor::from_bytes(DataType::F32, &[2], bytes).unwrap();
        assert_eq!(tensor.elements::<f32>().unwrap().as_ref(), [1.0, 2.0]);
    }

    #[test]
    fn wrong_lengths_are_errors() {
        assert!(Tensor::from_vec(&[2], vec![1f32]).is_err());
        assert!(Tensor::from_bytes(DataType::I4, &[3], vec![0u8].into()).is_err());
        assert!(matches!(
            Tensor::from_bytes(DataType::U8, &[usize::MAX, 2], Bytes::new()),
            Err(TensorError::TooLarge { .. })
        ));
        assert!(Tensor::from_vec(&[1], vec![1f32]).unwrap().elements::<f64>().is_err());
    }

    #[test]
    fn movement_works_on_strings_and_fills_gaps() {
        let tensor = Tensor::from_strings(&[2], vec!["a".into(), "b".into()]).unwrap();
        let moved = tensor.rearranged(&[3], |i| [Some(1), None, Some(0)][i]).unwrap();
        assert_eq!(moved.strings().unwrap(), ["b", "", "a"]);
    }
}
