//! Views: typed, shaped, borrowed memory that kernels read and write.
//!
//! A view is row-major and aligned for its elements. It is contiguous, or it is strided: a part of a larger buffer
//! whose elements lie in [`Rows`]. A kernel gets strided views only for operands that it declares. While a network
//! runs, types below eight bits take one byte per element, signed integers sign-extended; only tensors and files pack
//! them. Bools are bytes 0 and 1.

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

/// The row pitch of a strided view: in row-major order, each row has `inner` consecutive elements, and the next row
/// begins `step` elements later. Other aliases of the buffer own the elements between the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Elements of a row.
    pub inner: usize,
    /// Elements from the start of a row to the start of the next.
    pub step: usize,
}

impl Rows {
    /// Elements from the first to the last of `count`, those between rows included; `None` when they are no whole rows,
    /// rows overlap, or the number is too large.
    pub fn span(self, count: usize) -> Option<usize> {
        if count == 0 {
            return Some(0);
        }
        if self.inner == 0 || !count.is_multiple_of(self.inner) {
            return None;
        }
        let rows = count / self.inner;
        if rows > 1 && self.step < self.inner {
            return None;
        }
        (rows - 1).checked_mul(self.step)?.checked_add(self.inner)
    }

    /// Do `count` elements lie one after the other?
    pub fn is_contiguous(self, count: usize) -> bool {
        count <= self.inner || self.inner == self.step
    }
}

/// Memory to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data_type: DataType,
    sizes: &'a [usize],
    bytes: &'a [u8],
    /// `None` when contiguous.
    rows: Option<Rows>,
}

/// Memory to write. Its contents before the first write are unspecified.
#[derive(Debug)]
pub struct ViewMut<'a> {
    data_type: DataType,
    sizes: &'a [usize],
    bytes: &'a mut [u8],
    /// `None` when contiguous.
    rows: Option<Rows>,
}

/// A view that does not match its memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{data_type}{sizes:?} does not describe {found} bytes at this alignment")]
pub struct ViewError {
    data_type: DataType,
    sizes: Vec<usize>,
    found: usize,
}

/// The row pitch; `None` if the elements are contiguous.
fn check(data_type: DataType, sizes: &[usize], bytes: &[u8], rows: Option<Rows>) -> Result<Option<Rows>, ViewError> {
    let width = element_bytes(data_type);
    let count = element_count(sizes);
    let span = match rows {
        Some(rows) => count.and_then(|count| rows.span(count)),
        None => count,
    };
    let expected = span.and_then(|span| span.checked_mul(width));
    let aligned = bytes.is_empty() || width > 0 && bytes.as_ptr().align_offset(width) == 0;
    if expected == Some(bytes.len()) && data_type != DataType::String && aligned {
        return Ok(rows.filter(|rows| !rows.is_contiguous(count.unwrap_or(0))));
    }
    Err(ViewError { data_type, sizes: sizes.to_vec(), found: bytes.len() })
}

fn step_of(rows: Option<Rows>, inner: usize) -> Option<usize> {
    match rows {
        None => Some(inner),
        Some(rows) => (rows.inner == inner).then_some(rows.step),
    }
}

impl<'a> View<'a> {
    /// A view of this memory.
    ///
    /// # Errors
    /// When size or alignment do not match.
    pub fn new(data_type: DataType, sizes: &'a [usize], bytes: &'a [u8]) -> Result<Self, ViewError> {
        let rows = check(data_type, sizes, bytes, None)?;
        Ok(Self { data_type, sizes, bytes, rows })
    }

    /// A view of an alias of a larger buffer; `bytes` reach from its first element to its last.
    ///
    /// # Errors
    /// When size or alignment do not match, or the elements are no whole rows.
    pub fn strided(data_type: DataType, sizes: &'a [usize], bytes: &'a [u8], rows: Rows) -> Result<Self, ViewError> {
        let rows = check(data_type, sizes, bytes, Some(rows))?;
        Ok(Self { data_type, sizes, bytes, rows })
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

    /// The row pitch; `None` if the view is contiguous.
    pub fn rows(&self) -> Option<Rows> {
        self.rows
    }

    /// Elements from one row of `inner` to the next; `None` when the view has no such rows.
    pub fn step_of(&self, inner: usize) -> Option<usize> {
        step_of(self.rows, inner)
    }

    /// The bytes, one or more whole bytes per element.
    ///
    /// # Panics
    /// When the view is strided: an error of the kernel, never of data.
    pub fn bytes(&self) -> &'a [u8] {
        assert!(self.rows.is_none(), "a kernel reads a strided view as a contiguous one");
        self.bytes
    }

    /// The bytes from the first element to the last, including those between rows.
    pub fn span_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Copies the elements one after the other.
    ///
    /// # Panics
    /// When the target has another size.
    pub fn copy_to(&self, target: &mut [u8]) {
        let Some(rows) = self.rows else { return target.copy_from_slice(self.bytes) };
        let width = element_bytes(self.data_type);
        assert_eq!(target.len(), self.count() * width, "the copy has another size");
        // The last row of the span ends before its step does.
        let from = self.bytes.chunks(rows.step * width);
        for (to, from) in target.chunks_exact_mut(rows.inner * width).zip(from) {
            to.copy_from_slice(&from[..to.len()]);
        }
    }

    /// The elements of a native type.
    ///
    /// # Panics
    /// When the view has another type or is strided: an error of the kernel, never of data.
    pub fn elements<T: Element>(&self) -> &'a [T] {
        assert!(self.rows.is_none(), "a kernel reads a strided view as a contiguous one");
        self.span()
    }

    /// The elements from the first to the last, including those between rows.
    ///
    /// # Panics
    /// When the view has another type: an error of the kernel, never of data.
    pub fn span<T: Element>(&self) -> &'a [T] {
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
        let rows = check(data_type, sizes, bytes, None)?;
        Ok(Self { data_type, sizes, bytes, rows })
    }

    /// A view of an alias of a larger buffer; `bytes` reach from its first element to its last. The bytes between rows
    /// belong to other aliases: a kernel must not change them.
    ///
    /// # Errors
    /// When size or alignment do not match, or the elements are no whole rows.
    pub fn strided(
        data_type: DataType,
        sizes: &'a [usize],
        bytes: &'a mut [u8],
        rows: Rows,
    ) -> Result<Self, ViewError> {
        let rows = check(data_type, sizes, bytes, Some(rows))?;
        Ok(Self { data_type, sizes, bytes, rows })
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

    /// The row pitch; `None` if the view is contiguous.
    pub fn rows(&self) -> Option<Rows> {
        self.rows
    }

    /// Elements from one row of `inner` to the next; `None` when the view has no such rows.
    pub fn step_of(&self, inner: usize) -> Option<usize> {
        step_of(self.rows, inner)
    }

    /// The bytes, one or more whole bytes per element.
    ///
    /// # Panics
    /// When the view is strided: an error of the kernel, never of data.
    pub fn bytes(&mut self) -> &mut [u8] {
        assert!(self.rows.is_none(), "a kernel writes a strided view as a contiguous one");
        self.bytes
    }

    /// The bytes from the first element to the last; those between rows belong to other aliases.
    pub fn span_bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements of a native type.
    ///
    /// # Panics
    /// When the view has another type or is strided: an error of the kernel, never of data.
    pub fn elements<T: Element>(&mut self) -> &mut [T] {
        assert!(self.rows.is_none(), "a kernel writes a strided view as a contiguous one");
        self.span()
    }

    /// The elements from the first to the last; those between rows belong to other aliases.
    ///
    /// # Panics
    /// When the view has another type: an error of the kernel, never of data.
    pub fn span<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(self.data_type, T::DATA_TYPE, "a kernel writes another type than it was offered");
        if self.bytes.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(self.bytes) }
    }

    /// The same memory, lent on.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { data_type: self.data_type, sizes: self.sizes, bytes: self.bytes, rows: self.rows }
    }

    /// The same memory, to read.
    pub fn as_view(&self) -> View<'_> {
        View { data_type: self.data_type, sizes: self.sizes, bytes: self.bytes, rows: self.rows }
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

    #[test]
    fn strided_views_are_whole_rows() {
        let numbers: Vec<f32> = (0..12u8).map(f32::from).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&numbers);
        let rows = Rows { inner: 2, step: 5 };
        // Rows 1 2, 6 7 of a [2, 5].
        let part = View::strided(DataType::F32, &[2, 2], &bytes[4..32], rows).unwrap();
        assert_eq!((part.rows(), part.step_of(2), part.step_of(4)), (Some(rows), Some(5), None));
        assert_eq!(part.to_tensor().unwrap().to_floats(), [1.0, 2.0, 6.0, 7.0]);
        assert!(View::strided(DataType::F32, &[2, 2], &bytes[4..36], rows).is_err(), "a longer span");
        assert!(View::strided(DataType::F32, &[3, 1], &bytes[..48], rows).is_err(), "half a row");
        assert!(View::strided(DataType::F32, &[2, 2], &bytes[..12], Rows { inner: 2, step: 1 }).is_err());
        let single = View::strided(DataType::F32, &[1, 2], &bytes[4..12], rows).unwrap();
        assert_eq!((single.rows(), single.elements::<f32>()), (None, &numbers[1..3]));
        assert!(View::strided(DataType::F32, &[0, 2], &[], rows).unwrap().elements::<f32>().is_empty());
    }
}
