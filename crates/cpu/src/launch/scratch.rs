//! The scratch allocator: memory for the lists and copies that a kernel makes while it runs, reused by later launches.
//!
//! A candidate's workspace holds scratch memory whose size is a formula of the operand sizes. A scratch buffer holds
//! data whose size only the launch knows: tables of an axis, operands widened to another type. Dropping a buffer
//! returns its memory to the allocator. Capacities are rounded up to the next power of two, so a launch that requests
//! the same sizes again reuses the same memory: the steady state allocates nothing.
//!
//! The allocator has a byte limit. Kernels allocate in the middle of their work, on any thread; a request beyond the
//! limit unwinds the launch, and [`crate::launch::panic::caught`] turns the unwinding into an error.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use sinter_base::Buffer;

/// Capacities are powers of two of 64 bytes.
const CLASSES: usize = 40;

/// Free memory by capacity class.
type Free = [Vec<Buffer>; CLASSES];

/// The scratch allocator of a context, which all threads of a launch share.
pub struct Scratch {
    free: Mutex<Free>,
    /// Bytes of all buffers, in use or free.
    total: AtomicUsize,
    /// Upper limit of `total`.
    limit: usize,
}

/// The payload with which a launch unwinds when its scratch memory exceeds the limit or the system's memory.
pub(crate) struct OutOfScratch {
    /// Requested bytes.
    pub(crate) needed: usize,
    /// Byte limit of the allocator.
    pub(crate) limit: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { free: Mutex::new([const { Vec::new() }; CLASSES]), total: AtomicUsize::new(0), limit: usize::MAX }
    }
}

/// The capacity class of a buffer of this many bytes, and its capacity.
fn class_of(bytes: usize) -> (usize, usize) {
    let capacity = bytes.checked_next_power_of_two().unwrap_or(usize::MAX).max(64);
    (capacity.ilog2() as usize - 6, capacity)
}

impl Scratch {
    /// Limits the bytes of all buffers of this allocator. The default is no limit.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Allocates a buffer of `length` elements, contents unspecified.
    ///
    /// # Panics
    /// When the request exceeds the limit or the system's memory: [`crate::launch::panic::caught`] makes that an error.
    pub fn allocate<T: Pod>(&self, length: usize) -> ScratchBuffer<'_, T> {
        let bytes = length.saturating_mul(size_of::<T>());
        let (class, capacity) = class_of(bytes);
        let found = self.free().get_mut(class).and_then(Vec::pop);
        let memory = found.unwrap_or_else(|| self.grow(capacity));
        ScratchBuffer { scratch: self, memory, length, elements: PhantomData }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory from the system. Frees unused buffers of other capacities when the limit requires it.
    fn grow(&self, capacity: usize) -> Buffer {
        // No system has so much, and sums of a few such numbers do not overflow.
        let counted = capacity.min(usize::MAX >> 8);
        let exceeds_limit = |total: usize| total > self.limit;
        if exceeds_limit(self.total.fetch_add(counted, Ordering::Relaxed) + counted) {
            for unused in self.free().iter_mut().flat_map(|free| free.drain(..)) {
                self.total.fetch_sub(unused.bytes().len(), Ordering::Relaxed);
            }
        }
        let mut memory = Buffer::default();
        if exceeds_limit(self.total.load(Ordering::Relaxed)) || !memory.try_resize(capacity) {
            self.total.fetch_sub(counted, Ordering::Relaxed);
            resume_unwind(Box::new(OutOfScratch { needed: capacity, limit: self.limit }));
        }
        memory
    }

    /// Allocates a buffer of `length` elements, each equal to `value`.
    pub fn filled<T: Pod>(&self, length: usize, value: T) -> ScratchBuffer<'_, T> {
        let mut buffer = self.allocate(length);
        buffer.fill(value);
        buffer
    }

    /// Allocates a copy of these elements.
    pub fn copy<T: Pod>(&self, elements: &[T]) -> ScratchBuffer<'_, T> {
        let mut buffer = self.allocate(elements.len());
        buffer.copy_from_slice(elements);
        buffer
    }

    /// Collects an iterator of known length.
    pub fn list<T: Pod>(&self, elements: impl ExactSizeIterator<Item = T>) -> ScratchBuffer<'_, T> {
        self.list_of(elements.len(), elements)
    }

    /// Collects an iterator of unknown length, `most` elements at most; later elements are not requested.
    pub fn list_of<T: Pod>(&self, most: usize, elements: impl Iterator<Item = T>) -> ScratchBuffer<'_, T> {
        let mut buffer = self.allocate(most);
        let mut length = 0;
        for (place, element) in buffer.iter_mut().zip(elements) {
            *place = element;
            length += 1;
        }
        buffer.length = length;
        buffer
    }

    /// Ensures that the threads of a launch can allocate `count` buffers of `length` elements at once.
    ///
    /// # Panics
    /// As [`Scratch::allocate`].
    pub fn reserve<T: Pod>(&self, count: usize, length: usize) {
        let (class, capacity) = class_of(length.saturating_mul(size_of::<T>()));
        let there = self.free().get(class).map_or(0, Vec::len);
        for _ in there..count {
            let memory = self.grow(capacity);
            self.put_back(memory);
        }
    }

    fn put_back(&self, memory: Buffer) {
        let (class, _) = class_of(memory.bytes().len());
        if let Some(free) = self.free().get_mut(class) {
            free.push(memory);
        }
    }
}

/// A buffer of scratch memory, which returns to its allocator when it is dropped.
pub struct ScratchBuffer<'r, T: Pod> {
    scratch: &'r Scratch,
    memory: Buffer,
    length: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> ScratchBuffer<'_, T> {
    /// Shortens the buffer to its first elements.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl<T: Pod> Deref for ScratchBuffer<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.memory.bytes()[..self.length * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for ScratchBuffer<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory.bytes_mut()[..self.length * size_of::<T>()])
    }
}

impl<T: Pod> Drop for ScratchBuffer<'_, T> {
    fn drop(&mut self) {
        self.scratch.put_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_backend::KernelError;

    use crate::launch::panic::caught;

    #[test]
    fn a_dropped_buffer_is_reused() {
        let scratch = Scratch::default();
        let first = scratch.list([1.5f64, 2.5].into_iter());
        let place = first.as_ptr();
        assert_eq!(first[..], [1.5, 2.5]);
        let second = scratch.filled(3, 7u16);
        assert_ne!(second.as_ptr().cast(), place);
        drop(first);
        let mut again = scratch.allocate::<u8>(64);
        assert_eq!(again.as_ptr().cast(), place);
        again.truncate(2);
        assert_eq!((again.len(), second[..].to_vec()), (2, vec![7; 3]));
        let even = scratch.list_of(10, (0..12usize).filter(|i| i % 2 == 0));
        assert_eq!(even[..], [0, 2, 4, 6, 8, 10]);
        assert!(scratch.allocate::<f32>(0).is_empty());
    }

    /// Runs a kernel that allocates.
    fn works(scratch: &Scratch, kernel: impl FnOnce(&Scratch)) -> Result<(), KernelError> {
        let run = || {
            kernel(scratch);
            Ok(())
        };
        caught("test.kernel", run)
    }

    #[test]
    fn the_allocator_has_a_limit() {
        let mut scratch = Scratch::default();
        scratch.set_limit(1024);
        let in_use = scratch.allocate::<u8>(256);
        works(&scratch, |scratch| drop(scratch.allocate::<u8>(512))).expect("they fit");
        let error =
            works(&scratch, |scratch| drop(scratch.allocate::<u8>(1024))).expect_err("the limit is one kilobyte");
        assert!(matches!(&error, KernelError::Memory(what) if what.contains("test.kernel") && what.contains("1024")));
        works(&scratch, |scratch| (0..2).for_each(|_| drop(scratch.allocate::<u8>(300))))
            .expect("the unused buffer is reused");
        works(&scratch, |scratch| drop(scratch.allocate::<u8>(200))).expect("the unused buffer is freed for another");
        drop(in_use);
        works(&scratch, |scratch| drop(scratch.allocate::<u8>(1024))).expect("the whole limit");
        works(&scratch, |scratch| scratch.reserve::<u8>(2, 1024)).expect("one at a time");
        assert!(works(&scratch, |scratch| drop(scratch.allocate::<u64>(usize::MAX))).is_err());
    }

    #[test]
    fn reserved_buffers_suffice_for_all_threads() {
        let scratch = Scratch::default();
        scratch.reserve::<f32>(3, 100);
        let allocated: Vec<_> = (0..3).map(|_| scratch.allocate::<f32>(100)).collect();
        let places: Vec<_> = allocated.iter().map(|buffer| buffer.as_ptr()).collect();
        drop(allocated);
        scratch.reserve::<f32>(3, 100);
        let again = scratch.allocate::<f32>(100);
        assert!(places.contains(&again.as_ptr()));
    }
}
