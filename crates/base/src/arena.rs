//! The arena: one block of memory in which the values of a run lie side by side. All aliasing lives here.
#![allow(unsafe_code, reason = "several disjoint parts of one block are borrowed at once")]

use std::ops::Range;

use smallvec::SmallVec;

use crate::buffer::Buffer;

/// Parts of an arena that one launch reads and writes.
pub struct Parts<'a> {
    /// In the order asked for.
    pub reads: SmallVec<[&'a [u8]; 8]>,
    /// In the order asked for.
    pub writes: SmallVec<[&'a mut [u8]; 4]>,
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
    /// Makes room for this many bytes; contents become unspecified.
    pub fn resize(&mut self, bytes: usize) {
        self.buffer.resize(bytes);
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
    /// overlap nothing.
    ///
    /// # Errors
    /// When a range lies outside the arena or a written one overlaps another.
    pub fn parts(&mut self, reads: &[Range<usize>], writes: &[Range<usize>]) -> Result<Parts<'_>, ArenaError> {
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
        let base = self.buffer.bytes_mut().as_mut_ptr();
        // SAFETY: every range was checked to lie inside the block, which stays borrowed mutably for the lifetime of the
        // result. Written ranges overlap neither each other nor a read one, so no byte is reachable through a mutable
        // reference and any other reference at once.
        let reads =
            reads.iter().map(|r| unsafe { std::slice::from_raw_parts(base.add(r.start), r.end - r.start) }).collect();
        // SAFETY: as above.
        let writes = writes
            .iter()
            .map(|r| unsafe { std::slice::from_raw_parts_mut(base.add(r.start), r.end - r.start) })
            .collect();
        Ok(Parts { reads, writes })
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    #[test]
    fn disjoint_parts_are_lent_together() {
        let mut arena = Arena::default();
        arena.resize(100);
        {
            let parts = arena.parts(&[0..10, 5..20], &[20..30, 30..30]).unwrap();
            assert_eq!((parts.reads[1].len(), parts.writes[0].len(), parts.writes[1].len()), (15, 10, 0));
        }
        assert!(arena.parts(&[0..10], &[9..11]).is_err());
        assert!(arena.parts(&[], &[0..5, 4..6]).is_err());
        assert!(arena.parts(&[90..101], &[]).is_err());
    }
}
