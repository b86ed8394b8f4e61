//! Owned memory, aligned for every kernel.

use std::alloc::{Layout, handle_alloc_error};

use bytemuck::allocation::try_zeroed_slice_box;
use bytemuck::{cast_slice, cast_slice_mut};

use crate::allocation::{attempt, with_capacity};
use crate::data_type::DataType;
use crate::tensor::{Tensor, TensorError};
use crate::view::{ALIGNMENT, View, element_bytes};

/// Zeroed bytes at an address that is a multiple of [`ALIGNMENT`].
#[derive(Default)]
pub struct Buffer {
    /// Elements with the default alignment of allocations: only for these does the allocator return fresh, already zero
    /// pages without clearing them.
    memory: Vec<u128>,
    /// Where the bytes start.
    start: usize,
    length: usize,
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.length);
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

impl Buffer {
    /// Zeroed memory of this many bytes.
    ///
    /// Ends the process, as every allocation does, when the system does not have so much memory.
    pub fn new(bytes: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(bytes);
        buffer
    }

    /// The elements of a tensor in the form of views: types below eight bits unpacked. Strings have none.
    pub fn of(tensor: &Tensor) -> Self {
        let packed;
        let source: &[u8] = if tensor.data_type().is_packed() {
            packed = unpacked(tensor);
            &packed
        } else {
            tensor.bytes()
        };
        let mut buffer = Self::new(source.len());
        buffer.bytes_mut().copy_from_slice(source);
        buffer
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &cast_slice(&self.memory)[self.start..][..self.length]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut cast_slice_mut(&mut self.memory)[self.start..][..self.length]
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Is there no byte?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where the bytes start; no reference to them is made.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.memory.as_ptr().cast::<u8>().wrapping_add(self.start)
    }

    /// As [`Buffer::as_ptr`], to write.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr().cast::<u8>().wrapping_add(self.start)
    }

    /// Changes the size. The buffer allocates only when it grows beyond its largest size so far, and only then are the
    /// bytes zero. Else they are unspecified.
    ///
    /// Ends the process, as every allocation does, when the system does not have so much memory.
    pub fn resize(&mut self, bytes: usize) {
        if !self.grow(bytes) {
            // A valid layout, but more than any system's memory.
            handle_alloc_error(Layout::array::<u8>(bytes).unwrap_or(Layout::new::<u8>()));
        }
    }

    /// As [`Buffer::resize`]; false, and nothing changed, when the system does not have so much memory.
    #[must_use]
    pub fn try_resize(&mut self, bytes: usize) -> bool {
        attempt(|| self.grow(bytes))
    }

    fn grow(&mut self, bytes: usize) -> bool {
        if bytes > size_of_val(self.memory.as_slice()) - self.start {
            let Some(elements) = bytes.checked_add(ALIGNMENT).map(|room| room / size_of::<u128>()) else {
                return false;
            };
            let Ok(fresh) = try_zeroed_slice_box::<u128>(elements) else { return false };
            self.memory = fresh.into_vec();
            self.start = self.memory.as_ptr().cast::<u8>().align_offset(ALIGNMENT);
        }
        self.length = bytes;
        true
    }
}

/// One byte per element, signed types sign-extended.
fn unpacked(tensor: &Tensor) -> Vec<u8> {
    if tensor.data_type().is_float() {
        return tensor.codes().into_owned();
    }
    // The low byte of the element in two's complement.
    tensor.to_ints().into_iter().map(|v| (v & 0xFF) as u8).collect()
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl View<'_> {
    /// A tensor with a copy of the elements, packed where the type asks for it.
    ///
    /// # Errors
    /// When the view exceeds the limit of tensors, or the system's memory.
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        if self.rows().is_some() {
            let bytes = self.count().saturating_mul(element_bytes(self.data_type()));
            let mut gathered = Buffer::default();
            if !gathered.try_resize(bytes) {
                return Err(TensorError::Memory { bytes });
            }
            self.copy_to(gathered.bytes_mut());
            let view = View::new(self.data_type(), self.sizes(), gathered.bytes());
            return view.map_err(|_| TensorError::TooLarge { sizes: self.sizes().to_vec() })?.to_tensor();
        }
        if self.data_type().is_packed() {
            let mask = u8::MAX >> (8 - self.data_type().bits());
            let mut codes = with_capacity(self.bytes().len())?;
            codes.extend(self.bytes().iter().map(|b| b & mask));
            return Tensor::from_codes(self.data_type(), self.sizes(), codes);
        }
        let mut bytes = with_capacity(self.bytes().len())?;
        bytes.extend_from_slice(self.bytes());
        if self.data_type() == DataType::Bool {
            return Tensor::from_codes(DataType::Bool, self.sizes(), bytes);
        }
        Tensor::from_bytes(self.data_type(), self.sizes(), bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::ALIGNMENT;

    #[test]
    fn buffers_are_aligned_and_resize() {
        let mut buffer = Buffer::new(100);
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(buffer.bytes(), [0; 100]);
        buffer.resize(7);
        assert_eq!(buffer.bytes_mut().len(), 7);
        assert!(!buffer.try_resize(usize::MAX / 2), "no system has so much");
        assert_eq!(buffer.bytes().len(), 7);
    }

    #[test]
    fn packed_tensors_unpack_and_pack_again() {
        for data_type in [DataType::I4, DataType::U2, DataType::F4E2M1, DataType::Bool, DataType::Bf16] {
            let tensor = Tensor::from_floats(data_type, &[5], &[1.0, 0.0, 1.0, 1.0, 0.0]).unwrap();
            let buffer = Buffer::of(&tensor);
            let view = View::new(data_type, tensor.sizes(), buffer.bytes()).unwrap();
            assert_eq!(view.to_tensor().unwrap(), tensor);
        }
        let negative = Tensor::from_ints(DataType::I4, &[2], &[-1, -8]).unwrap();
        assert_eq!(Buffer::of(&negative).bytes(), [0xFF, 0xF8]);
    }
}
