//! Rooms: memory for the lists and copies that a kernel makes while it runs, kept between launches.
//!
//! A candidate's workspace is for scratch memory whose size is a formula of sizes; a room is for what only a launch finds
//! out: tables of an axis, operands widened to another type. It goes back when it is dropped. Its capacity is the next
//! power of two of what was asked for, so any launch that asks for the same again finds it: the steady state takes no
//! memory.
//!
//! All rooms together are bounded. Kernels take rooms in the midst of their work, on any thread; where there is none left
//! the launch unwinds, and is an error where panics are.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use sinter_base::Buffer;

/// Capacities are powers of two of 64 bytes.
const CLASSES: usize = 40;

/// Free rooms by capacity.
type Free = [Vec<Buffer>; CLASSES];

/// Rooms of a context, from which any thread of a launch may take.
pub struct Rooms {
    free: Mutex<Free>,
    /// Bytes of all rooms, lent or free.
    made: AtomicUsize,
    /// How many that may be.
    allowed: usize,
}

/// What a launch unwinds with where no room is left.
pub(crate) struct NoRoom {
    /// Bytes that were asked for.
    pub(crate) needed: usize,
    /// Bytes of all rooms together that are allowed.
    pub(crate) allowed: usize,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { free: Mutex::new([const { Vec::new() }; CLASSES]), made: AtomicUsize::new(0), allowed: usize::MAX }
    }
}

/// The class of rooms of this many bytes, and their capacity.
fn class_of(bytes: usize) -> (usize, usize) {
    let capacity = bytes.checked_next_power_of_two().unwrap_or(usize::MAX).max(64);
    (capacity.ilog2() as usize - 6, capacity)
}

impl Rooms {
    /// All rooms together may have so many bytes. Without this there is no bound.
    pub fn allow(&mut self, bytes: usize) {
        self.allowed = bytes;
    }

    /// Room for `length` elements, contents unspecified.
    ///
    /// # Panics
    /// When more memory is needed than is allowed, or than the system has: [`crate::launch::panic::caught`] makes that an error.
    pub fn take<T: Pod>(&self, length: usize) -> Room<'_, T> {
        let bytes = length.saturating_mul(size_of::<T>());
        let (class, capacity) = class_of(bytes);
        let found = self.free().get_mut(class).and_then(Vec::pop);
        let memory = found.unwrap_or_else(|| self.make(capacity));
        Room { rooms: self, memory, length, elements: PhantomData }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new room; free ones of other capacities go where it needs their place.
    fn make(&self, capacity: usize) -> Buffer {
        // No system has so much, and sums of a few such numbers do not overflow.
        let counted = capacity.min(usize::MAX >> 8);
        let is_too_much = |made: usize| made > self.allowed;
        if is_too_much(self.made.fetch_add(counted, Ordering::Relaxed) + counted) {
            for room in self.free().iter_mut().flat_map(|free| free.drain(..)) {
                self.made.fetch_sub(room.bytes().len(), Ordering::Relaxed);
            }
        }
        let mut memory = Buffer::default();
        if is_too_much(self.made.load(Ordering::Relaxed)) || !memory.try_resize(capacity) {
            self.made.fetch_sub(counted, Ordering::Relaxed);
            resume_unwind(Box::new(NoRoom { needed: capacity, allowed: self.allowed }));
        }
        memory
    }

    /// Room for `length` elements of one value.
    pub fn filled<T: Pod>(&self, length: usize, value: T) -> Room<'_, T> {
        let mut room = self.take(length);
        room.fill(value);
        room
    }

    /// A copy of these elements.
    pub fn copy<T: Pod>(&self, elements: &[T]) -> Room<'_, T> {
        let mut room = self.take(elements.len());
        room.copy_from_slice(elements);
        room
    }

    /// A list of as many elements as there are.
    pub fn list<T: Pod>(&self, elements: impl ExactSizeIterator<Item = T>) -> Room<'_, T> {
        self.list_of(elements.len(), elements)
    }

    /// A list of elements whose number is found out on the way, `most` at most; what comes after those is not asked for.
    pub fn list_of<T: Pod>(&self, most: usize, elements: impl Iterator<Item = T>) -> Room<'_, T> {
        let mut room = self.take(most);
        let mut length = 0;
        for (place, element) in room.iter_mut().zip(elements) {
            *place = element;
            length += 1;
        }
        room.length = length;
        room
    }

    /// Sees to it that `count` rooms of `length` elements can be taken at once, by the threads of a launch.
    ///
    /// # Panics
    /// As [`Rooms::take`].
    pub fn reserve<T: Pod>(&self, count: usize, length: usize) {
        let (class, capacity) = class_of(length.saturating_mul(size_of::<T>()));
        let there = self.free().get(class).map_or(0, Vec::len);
        for _ in there..count {
            let room = self.make(capacity);
            self.put_back(room);
        }
    }

    fn put_back(&self, memory: Buffer) {
        let (class, _) = class_of(memory.bytes().len());
        if let Some(free) = self.free().get_mut(class) {
            free.push(memory);
        }
    }
}

/// Memory that is lent until it is dropped.
pub struct Room<'r, T: Pod> {
    rooms: &'r Rooms,
    memory: Buffer,
    length: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> Room<'_, T> {
    /// Keeps the first elements only.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl<T: Pod> Deref for Room<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.memory.bytes()[..self.length * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Room<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.memory.bytes_mut()[..self.length * size_of::<T>()])
    }
}

impl<T: Pod> Drop for Room<'_, T> {
    fn drop(&mut self) {
        self.rooms.put_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_backend::KernelError;

    use crate::launch::panic::caught;

    #[test]
    fn a_room_is_found_again() {
        let rooms = Rooms::default();
        let first = rooms.list([1.5f64, 2.5].into_iter());
        let place = first.as_ptr();
        assert_eq!(first[..], [1.5, 2.5]);
        let second = rooms.filled(3, 7u16);
        assert_ne!(second.as_ptr().cast(), place);
        drop(first);
        let mut again = rooms.take::<u8>(64);
        assert_eq!(again.as_ptr().cast(), place);
        again.truncate(2);
        assert_eq!((again.len(), second[..].to_vec()), (2, vec![7; 3]));
        let even = rooms.list_of(10, (0..12usize).filter(|i| i % 2 == 0));
        assert_eq!(even[..], [0, 2, 4, 6, 8, 10]);
        assert!(rooms.take::<f32>(0).is_empty());
    }

    /// Does the kernel find room?
    fn works(rooms: &Rooms, kernel: impl FnOnce(&Rooms)) -> Result<(), KernelError> {
        let run = || {
            kernel(rooms);
            Ok(())
        };
        caught("test.kernel", run)
    }

    #[test]
    fn all_rooms_together_are_bounded() {
        let mut rooms = Rooms::default();
        rooms.allow(1024);
        let held = rooms.take::<u8>(256);
        works(&rooms, |rooms| drop(rooms.take::<u8>(512))).expect("they fit");
        let error = works(&rooms, |rooms| drop(rooms.take::<u8>(1024))).expect_err("one kilobyte in all");
        assert!(matches!(&error, KernelError::Memory(what) if what.contains("test.kernel") && what.contains("1024")));
        works(&rooms, |rooms| (0..2).for_each(|_| drop(rooms.take::<u8>(300)))).expect("the free one serves");
        works(&rooms, |rooms| drop(rooms.take::<u8>(200))).expect("the free one goes for another");
        drop(held);
        works(&rooms, |rooms| drop(rooms.take::<u8>(1024))).expect("all that is allowed");
        works(&rooms, |rooms| rooms.reserve::<u8>(2, 1024)).expect("one at a time");
        assert!(works(&rooms, |rooms| drop(rooms.take::<u64>(usize::MAX))).is_err());
    }

    #[test]
    fn reserved_rooms_are_there_for_all_threads() {
        let rooms = Rooms::default();
        rooms.reserve::<f32>(3, 100);
        let taken: Vec<_> = (0..3).map(|_| rooms.take::<f32>(100)).collect();
        let places: Vec<_> = taken.iter().map(|room| room.as_ptr()).collect();
        drop(taken);
        rooms.reserve::<f32>(3, 100);
        let again = rooms.take::<f32>(100);
        assert!(places.contains(&again.as_ptr()));
    }
}
