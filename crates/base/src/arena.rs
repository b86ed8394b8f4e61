//! The arena: one block of memory in which the values of a run lie side by side. All aliasing lives here.
#![allow(unsafe_code, reason = "several disjoint parts of one block are borrowed at once")]

use std::ops::Range;

use crate::buffer::Buffer;

/// Parts of an arena that one launch reads and writes.
#[derive(Default)]
pub struct Parts<'a> {
    /// In the order asked for.
    pub reads: Vec<&'a [u8]>,
    /// In the order asked for.
    pub writes: Vec<&'a mut [u8]>,
}

impl Parts<'_> {
    /// Empty lists in the memory of these, for the next launch.
    pub fn recycled<'b>(self) -> Parts<'b> {
        Parts { reads: recycled(self.reads), writes: recycled(self.writes) }
    }
}

/// An empty list in the memory of another, whose elements differ in lifetimes only: a launch needs lists of borrowed
/// things, and must not allocate them.
pub fn recycled<A, B>(mut list: Vec<A>) -> Vec<B> {
    list.clear();
    // The standard library collects in place where both elements have one layout.
    list.into_iter().filter_map(|_| None).collect()
}

/// A range that lies outside the arena, or a written one that overlaps another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {range:?} of the arena are outside its {size} bytes or overlap a range that is written")]
pub struct ArenaError {
    range: Range<usize>,
    size: usize,
}

/// See the module documentation.
#[derive(Default)]
pub struct Arena {
    buffer: Buffer,
}

impl Arena {
    /// Makes room for this many bytes; contents become unspecified. False when the system has not so much memory.
    #[must_use]
    pub fn try_resize(&mut self, bytes: usize) -> bool {
        self.buffer.try_resize(bytes)
    }

    /// Bytes at hand.
    pub fn size(&self) -> usize {
        self.buffer.bytes().len()
    }

    /// A part, to read.
    pub fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        self.buffer.bytes().get(range)
    }

    /// A part, to write.
    pub fn write(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.buffer.bytes_mut().get_mut(range)
    }

    /// Borrows several parts at once: any number to read, which may overlap each other, and some to write, which may
    /// overlap nothing. `lists` gives its memory.
    ///
    /// # Errors
    /// When a range lies outside the arena or a written one overlaps another.
    pub fn parts<'a>(
        &'a mut self,
        reads: &[Range<usize>],
        writes: &[Range<usize>],
        lists: Parts<'_>,
    ) -> Result<Parts<'a>, ArenaError> {
        let size = self.size();
        let error = |range: &Range<usize>| ArenaError { range: range.clone(), size };
        let overlap = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        for range in reads.iter().chain(writes) {
            if range.start > range.end || range.end > size {
                return Err(error(range));
            }
        }
        for (i, range) in writes.iter().enumerate() {
            if writes[..i].iter().chain(reads).any(|other| overlap(range, other)) {
                return Err(error(range));
            }
        }
        let mut parts: Parts<'a> = lists.recycled();
        let base = self.buffer.bytes_mut().as_mut_ptr();
        for r in reads {
            // SAFETY: every range was checked to lie inside the block, which stays borrowed mutably for the lifetime of
            // the result. Written ranges overlap neither each other nor a read one, so no byte is reachable through a
            // mutable reference and any other reference at once.
            parts.reads.push(unsafe { std::slice::from_raw_parts(base.add(r.start), r.end - r.start) });
        }
        for r in writes {
            // SAFETY: as above.
            parts.writes.push(unsafe { std::slice::from_raw_parts_mut(base.add(r.start), r.end - r.start) });
        }
        Ok(parts)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_memory() {
        let numbers: Vec<&[u8]> = Vec::with_capacity(9);
        let memory = numbers.as_ptr().addr();
        let again: Vec<&[u8]> = recycled(numbers);
        assert_eq!((again.as_ptr().addr(), again.capacity()), (memory, 9));
    }

    #[test]
    fn disjoint_parts_are_lent_together() {
        let mut arena = Arena::default();
        assert!(arena.try_resize(100));
        {
            let parts = arena.parts(&[0..10, 5..20], &[20..30, 30..30], Parts::default()).unwrap();
            assert_eq!((parts.reads[1].len(), parts.writes[0].len(), parts.writes[1].len()), (15, 10, 0));
        }
        assert!(arena.parts(&[0..10], &[9..11], Parts::default()).is_err());
        assert!(arena.parts(&[], &[0..5, 4..6], Parts::default()).is_err());
        assert!(arena.parts(&[90..101], &[], Parts::default()).is_err());
    }
}
