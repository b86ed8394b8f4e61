//! One array of a file: NumPy's type and raw bytes, and its conversion to a tensor.

use std::borrow::Cow;

use npyz::{Endianness, TypeChar, TypeStr};
use sinter_base::shape::{element_count, ravel, strides, unravel};
use sinter_base::{DataType, Tensor};

use crate::header::Header;

/// An array of the file; its tensor may depend on the type that the reader expects.
#[derive(Clone, Debug)]
pub struct RawArray {
    kind: Kind,
    big_endian: bool,
    fortran: bool,
    sizes: Vec<usize>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A type that NumPy and tensors both have.
    Numeric(DataType),
    /// Opaque elements of this many bytes.
    Raw(usize),
    /// Text of this many code points.
    Unicode(usize),
    /// Zero-terminated bytes of this length.
    Bytes(usize),
}

impl Kind {
    /// Bytes of one element in the file.
    fn width(self) -> Option<usize> {
        match self {
            Kind::Numeric(data_type) => Some(data_type.bits() / 8),
            Kind::Raw(width) | Kind::Bytes(width) => Some(width),
            Kind::Unicode(points) => points.checked_mul(4),
        }
    }

    /// Bytes of memory for one element: a text has a header besides its bytes, even where it is empty.
    fn memory(self) -> Option<usize> {
        let width = self.width()?;
        match self {
            Kind::Numeric(_) | Kind::Raw(_) => Some(width),
            Kind::Unicode(_) | Kind::Bytes(_) => width.checked_mul(2)?.checked_add(size_of::<String>()),
        }
    }
}

/// The size of the data of an array by its header, within the limit.
pub(crate) struct Extent {
    /// Bytes that follow the header.
    pub(crate) stored: usize,
    /// Bytes of memory that the array and its tensor take.
    pub(crate) memory: usize,
}

fn kind_of(type_str: &TypeStr) -> Result<Kind, String> {
    let refuse = || format!("arrays of NumPy type '{type_str}' are not supported");
    let size = usize::try_from(type_str.size_field()).map_err(|_| refuse())?;
    use DataType as T;
    Ok(match (type_str.type_char(), size) {
        (TypeChar::Bool, 1) => Kind::Numeric(T::Bool),
        (TypeChar::Int, 1) => Kind::Numeric(T::I8),
        (TypeChar::Int, 2) => Kind::Numeric(T::I16),
        (TypeChar::Int, 4) => Kind::Numeric(T::I32),
        (TypeChar::Int, 8) => Kind::Numeric(T::I64),
        (TypeChar::Uint, 1) => Kind::Numeric(T::U8),
        (TypeChar::Uint, 2) => Kind::Numeric(T::U16),
        (TypeChar::Uint, 4) => Kind::Numeric(T::U32),
        (TypeChar::Uint, 8) => Kind::Numeric(T::U64),
        (TypeChar::Float, 2) => Kind::Numeric(T::F16),
        (TypeChar::Float, 4) => Kind::Numeric(T::F32),
        (TypeChar::Float, 8) => Kind::Numeric(T::F64),
        // ml_dtypes registers its 8-bit floats under this code.
        (TypeChar::Float | TypeChar::RawData, 1) => Kind::Raw(1),
        (TypeChar::RawData, 2) => Kind::Raw(2),
        (TypeChar::UnicodeStr, points) => Kind::Unicode(points),
        (TypeChar::ByteStr, length) => Kind::Bytes(length),
        (TypeChar::Object, _) => return Err("object arrays are refused: they can run code".to_owned()),
        _ => return Err(refuse()),
    })
}

impl RawArray {
    /// Its sizes, outermost first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Interprets a header; the bytes follow with [`RawArray::with_bytes`].
    ///
    /// # Errors
    /// For types that no tensor has, and for arrays that need more than `max_bytes` of memory.
    pub(crate) fn from_header(header: Header, max_bytes: usize) -> Result<(Self, Extent), String> {
        let Header { type_str, fortran, sizes } = header;
        let kind = kind_of(&type_str)?;
        let bytes = |width: Option<usize>| element_count(&sizes)?.checked_mul(width?);
        let extent = bytes(kind.width()).zip(bytes(kind.memory()).filter(|&b| b <= max_bytes));
        let (stored, memory) =
            extent.ok_or_else(|| format!("sizes {sizes:?} need more than the {max_bytes} bytes allowed"))?;
        let big_endian = type_str.endianness() == Endianness::Big;
        let array = Self { kind, big_endian, fortran, sizes, bytes: Vec::new() };
        Ok((array, Extent { stored, memory }))
    }

    pub(crate) fn with_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.bytes = bytes;
        self
    }

    /// As [`RawArray::into_tensor`], of a copy.
    ///
    /// # Errors
    /// As [`RawArray::into_tensor`].
    pub fn to_tensor(&self, expected: Option<DataType>) -> Result<Tensor, String> {
        self.clone().into_tensor(expected)
    }

    /// The tensor, which takes the bytes over. `expected` says which of the types without a NumPy name raw bits stand
    /// for.
    ///
    /// # Errors
    /// The reason as text: a type other than the expected one, bits that it does not have, text that is not UTF-8.
    pub fn into_tensor(self, expected: Option<DataType>) -> Result<Tensor, String> {
        let (sizes, fortran) = (self.sizes.clone(), self.fortran);
        let stored = if fortran { sizes.iter().rev().copied().collect() } else { sizes.clone() };
        let tensor = match self.kind {
            Kind::Unicode(points) => {
                Tensor::from_strings(&stored, self.texts(points.saturating_mul(4), |b| self.unicode(b))?)
            }
            Kind::Bytes(length) => Tensor::from_strings(&stored, self.texts(length, utf8)?),
            Kind::Numeric(_) | Kind::Raw(_) => {
                let data_type = self.data_type(expected)?;
                let bytes = self.little_endian();
                if data_type.is_packed() {
                    Tensor::from_codes(data_type, &stored, codes(bytes, data_type)?)
                } else {
                    Tensor::from_bytes(data_type, &stored, bytes.into())
                }
            }
        }
        .map_err(|e| e.to_string())?;
        if !fortran {
            return Ok(tensor);
        }
        // The bytes are the transpose in row-major order.
        let stored_strides = strides(&stored);
        let source = |i: usize| {
            let mut index = unravel(i, &sizes);
            index.reverse();
            Some(ravel(&index, &stored_strides))
        };
        tensor.rearranged(&sizes, source).map_err(|e| e.to_string())
    }

    fn data_type(&self, expected: Option<DataType>) -> Result<DataType, String> {
        let raw_bits = |width: usize| {
            expected.filter(|e| e.bits() <= 8 && width == 1 && e.bits() > 0 || e.bits() == 16 && width == 2)
        };
        match (self.kind, expected) {
            (Kind::Numeric(found), None) => Ok(found),
            (Kind::Numeric(found), Some(expected)) if found == expected => Ok(found),
            // Raw bits of types that NumPy has no name for.
            (Kind::Numeric(DataType::U8), Some(e))
                if e.bits() <= 8 && e.is_float() || e.is_packed() || e == DataType::Bool =>
            {
                Ok(e)
            }
            (Kind::Numeric(DataType::U16), Some(DataType::Bf16)) => Ok(DataType::Bf16),
            (Kind::Numeric(found), Some(expected)) => Err(format!("expected {expected}, found {found}")),
            (Kind::Raw(width), _) => raw_bits(width).ok_or_else(|| match expected {
                Some(expected) => format!("raw elements of {width} bytes cannot be {expected}"),
                None => format!("raw elements of {width} bytes say nothing about their type"),
            }),
            (Kind::Unicode(_) | Kind::Bytes(_), _) => Ok(DataType::String),
        }
    }

    fn little_endian(self) -> Vec<u8> {
        let width = self.kind.width().unwrap_or(1).max(1);
        let mut bytes = self.bytes;
        if self.big_endian {
            bytes.chunks_mut(width).for_each(<[u8]>::reverse);
        }
        bytes
    }

    fn texts(&self, width: usize, read: impl Fn(&[u8]) -> Result<String, String>) -> Result<Vec<String>, String> {
        if width == 0 {
            return Ok(vec![String::new(); element_count(&self.sizes).unwrap_or(0)]);
        }
        self.bytes.chunks(width).map(read).collect()
    }

    fn unicode(&self, element: &[u8]) -> Result<String, String> {
        let mut text = String::new();
        for code in element.chunks_exact(4) {
            let word = <[u8; 4]>::try_from(code).unwrap_or_default();
            let point = if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
            text.push(char::from_u32(point).ok_or_else(|| format!("{point:#x} is no character"))?);
        }
        Ok(text.trim_end_matches('\0').to_owned())
    }
}

fn utf8(element: &[u8]) -> Result<String, String> {
    let end = element.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    let bytes = element.get(..end).unwrap_or_default().to_vec();
    String::from_utf8(bytes).map_err(|_| "a text element is not UTF-8".to_owned())
}

/// One code of a packed type for each byte; of signed types programs also write the number itself, sign extended.
fn codes(mut bytes: Vec<u8>, data_type: DataType) -> Result<Vec<u8>, String> {
    let mask = u8::MAX >> (8usize.saturating_sub(data_type.bits()));
    let is_signed = matches!(data_type, DataType::I4 | DataType::I2);
    for (position, byte) in bytes.iter_mut().enumerate() {
        if *byte > mask && !(is_signed && *byte >= !(mask >> 1)) {
            return Err(format!("element {position} is {byte}, which is no {data_type}"));
        }
        *byte &= mask;
    }
    Ok(bytes)
}

/// NumPy's type code and the bytes of a tensor.
pub(crate) fn encode(tensor: &Tensor) -> (String, Cow<'_, [u8]>) {
    use DataType as T;
    let code = match tensor.data_type() {
        T::F64 => "<f8",
        T::F32 => "<f4",
        T::F16 => "<f2",
        T::Bf16 => "<u2",
        T::I64 => "<i8",
        T::I32 => "<i4",
        T::I16 => "<i2",
        T::I8 => "|i1",
        T::U64 => "<u8",
        T::U32 => "<u4",
        T::U16 => "<u2",
        T::Bool => "|b1",
        T::String => return encode_strings(tensor.strings().unwrap_or_default()),
        _ => "|u1",
    };
    let bytes = if tensor.data_type().bits() <= 8 { tensor.codes() } else { tensor.bytes().into() };
    (code.to_owned(), bytes)
}

fn encode_strings(strings: &[String]) -> (String, Cow<'static, [u8]>) {
    let width = strings.iter().map(|s| s.chars().count()).max().unwrap_or(0).max(1);
    let padded = |s: &String| -> Vec<u8> {
        let points = s.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        points.flat_map(u32::to_le_bytes).collect()
    };
    (format!("<U{width}"), strings.iter().flat_map(padded).collect::<Vec<u8>>().into())
}
