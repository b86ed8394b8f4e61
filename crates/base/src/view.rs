//! Views: typed, shaped, borrowed memory that kernels read and write.
//!
//! A view is contiguous, row-major and aligned for its elements. While a network runs, types below eight bits take one
//! byte per element; they are packed only in tensors and files. Bools are bytes 0 and 1.

use crate::data_type::DataType;
use crate::element::Element;
use crate::shape::element_count;
use crate::tensor::Tensor;

/// Alignment of every buffer that kernels see, in bytes: a cache line, and the widest vector register.
pub const ALIGNMENT: usize = 64;

/// Bytes of one element while a network runs; 0 for strings, which have no views.
pub const fn element_bytes(data_type: DataType) -> usize {
    data_type.bits().div_ceil(8)
}

/// Memory to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data_type: DataType,
    sizes: &'a [usize],
    bytes: &'a [u8],
}

/// Memory to write. Its contents before the first write are unspecified.
#[derive(Debug)]
pub struct ViewMut<'a> {
    data_type: DataType,
    sizes: &'a [usize],
    bytes: &'a mut [u8],
}

/// A view that does not match its memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{data_type}{sizes:?} does not describe {found} bytes at this alignment")]
pub struct ViewError {
    data_type: DataType,
    sizes: Vec<usize>,
    found: usize,
}

fn check(data_type: DataType, sizes: &[usize], bytes: &[u8]) -> Result<(), ViewError> {
    let width = element_bytes(data_type);
    let expected = element_count(sizes).and_then(|count| count.checked_mul(width));
    let aligned = bytes.is_empty() || width > 0 && bytes.as_ptr().align_offset(width) == 0;
    if expected == Some(bytes.len()) && data_type != DataType::String && aligned {
        return Ok(());
    }
    Err(ViewError { data_type, sizes: sizes.to_vec(), found: bytes.len() })
}

impl<'a> View<'a> {
    /// A view of this memory.
    ///
    /// # Errors
    /// When size or alignment do not match.
    pub fn new(data_type: DataType, sizes: &'a [usize], bytes: &'a [u8]) -> Result<Self, ViewError> {
        check(data_type, sizes, bytes)?;
        Ok(Self { data_type, sizes, bytes })
    }

    /// A view of a tensor, when its bytes are aligned and not packed.
    pub fn of(tensor: &'a Tensor) -> Option<Self> {
        if tensor.data_type().is_packed() {
            return None;
        }
        Self::new(tensor.data_type(), tensor.sizes(), tensor.bytes()).ok()
    }

    /// Element type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Sizes, outermost first.
    pub fn sizes(&self) -> &'a [usize] {
        self.sizes
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        element_count(self.sizes).unwrap_or(0)
    }

    /// The bytes, one or more whole bytes per element.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements of a native type.
    ///
    /// # Panics
    /// When the view has another type: an error of the kernel, never of data.
    pub fn elements<T: Element>(&self) -> &'a [T] {
        assert_eq!(self.data_type, T::DATA_TYPE, "a kernel reads another type than it was offered");
        // No elements may lie anywhere, aligned or not.
        if self.bytes.is_empty() { &[] } else { bytemuck::cast_slice(self.bytes) }
    }
}

impl<'a> ViewMut<'a> {
    /// A view of this memory.
    ///
    /// # Errors
    /// When size or alignment do not match.
    pub fn new(data_type: DataType, sizes: &'a [usize], bytes: &'a mut [u8]) -> Result<Self, ViewError> {
        check(data_type, sizes, bytes)?;
        Ok(Self { data_type, sizes, bytes })
    }

    /// Element type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Sizes, outermost first.
    pub fn sizes(&self) -> &'a [usize] {
        self.sizes
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        element_count(self.sizes).unwrap_or(0)
    }

    /// The bytes, one or more whole bytes per element.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements of a native type.
    ///
    /// # Panics
    /// When the view has another type: an error of the kernel, never of data.
    pub fn elements<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(self.data_type, T::DATA_TYPE, "a kernel writes another type than it was offered");
        if self.bytes.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(self.bytes) }
    }

    /// The same memory, to read.
    pub fn as_view(&self) -> View<'_> {
        View { data_type: self.data_type, sizes: self.sizes, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_check_size_and_alignment() {
        let words = [0u64; 4];
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        assert!(View::new(DataType::F32, &[2, 4], bytes).is_ok());
        assert!(View::new(DataType::F32, &[2, 3], bytes).is_err());
        assert!(View::new(DataType::F32, &[7], &bytes[1..29]).is_err());
        // Four bits take a byte each while a network runs.
        assert!(View::new(DataType::I4, &[32], bytes).is_ok());
        assert!(View::new(DataType::F64, &[0, 5], &[]).is_ok());
        assert!(View::new(DataType::F64, &[0, 5], &bytes[1..1]).unwrap().elements::<f64>().is_empty());
    }
}
