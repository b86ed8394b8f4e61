//! Rooms: memory for the lists and copies that a kernel makes while it runs, kept between launches.
//!
//! A candidate's workspace is for scratch memory whose size is a formula of sizes; a room is for what only a launch finds
//! out: tables of an axis, operands widened to another type. It goes back when it is dropped. Its capacity is the next
//! power of two of what was asked for, so any launch that asks for the same again finds it: the steady state takes no
//! memory.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytemuck::Pod;
use sinter_base::Buffer;

/// Capacities are powers of two of 64 bytes.
const CLASSES: usize = 40;

/// Free rooms by capacity. Belongs to a context, and any thread of a launch may take from it.
pub struct Rooms {
    free: Mutex<[Vec<Buffer>; CLASSES]>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { free: Mutex::new([const { Vec::new() }; CLASSES]) }
    }
}

/// The class of rooms of this many bytes, and their capacity.
fn class_of(bytes: usize) -> (usize, usize) {
    let capacity = bytes.checked_next_power_of_two().unwrap_or(usize::MAX).max(64);
    (capacity.ilog2() as usize - 6, capacity)
}

impl Rooms {
    /// Room for `length` elements, contents unspecified.
    ///
    /// # Panics
    /// When the system has not so much memory.
    pub fn take<T: Pod>(&self, length: usize) -> Room<'_, T> {
        let bytes = length.saturating_mul(size_of::<T>());
        let (class, capacity) = class_of(bytes);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let found = free.get_mut(class).and_then(Vec::pop);
        drop(free);
        let memory = found.unwrap_or_else(|| Buffer::new(capacity));
        Room { rooms: self, memory, length, elements: PhantomData }
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
    pub fn reserve<T: Pod>(&self, count: usize, length: usize) {
        let (class, capacity) = class_of(length.saturating_mul(size_of::<T>()));
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = free.get_mut(class) {
            while free.len() < count {
                free.push(Buffer::new(capacity));
            }
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
        let memory = std::mem::take(&mut self.memory);
        let (class, _) = class_of(memory.bytes().len());
        let mut free = self.rooms.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = free.get_mut(class) {
            free.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
