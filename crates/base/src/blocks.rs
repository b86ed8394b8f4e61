//! The blocks of host memory of one queue. A launch borrows disjoint ranges of several blocks at once; this file
//! contains all aliasing.
#![allow(unsafe_code, reason = "several disjoint ranges of blocks are borrowed at once")]

use crate::block::{BlockId, HostBlock, MemoryRef};

/// Ranges of blocks that one launch reads and writes.
#[derive(Default)]
pub struct Borrowed<'a> {
    /// In the order asked for.
    pub reads: Vec<&'a [u8]>,
    /// In the order asked for.
    pub writes: Vec<&'a mut [u8]>,
}

impl Borrowed<'_> {
    /// Empty lists in the memory of these, for the next launch.
    pub fn recycled<'b>(self) -> Borrowed<'b> {
        Borrowed { reads: recycled(self.reads), writes: recycled(self.writes) }
    }
}

/// An empty list in the memory of another, whose elements differ in lifetimes only: a launch needs lists of borrowed
/// things, and must not allocate them.
pub fn recycled<A, B>(mut list: Vec<A>) -> Vec<B> {
    list.clear();
    // The standard library collects in place where both elements have one layout.
    list.into_iter().filter_map(|_| None).collect()
}

/// A range that lies outside of its block, may not be written, or overlaps a range that is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} bytes at {} of block {} lie outside of it, may not be written, or overlap bytes that are written",
    .0.bytes,
    .0.offset,
    .0.block.index()
)]
pub struct BlockError(pub MemoryRef);

/// See the module documentation.
#[derive(Default)]
pub struct Blocks {
    blocks: Vec<Option<HostBlock>>,
    free: Vec<BlockId>,
}

impl Blocks {
    /// Takes over a block.
    pub fn insert(&mut self, block: HostBlock) -> BlockId {
        if let Some(id) = self.free.pop() {
            self.blocks[id.index()] = Some(block);
            return id;
        }
        self.blocks.push(Some(block));
        BlockId::new(self.blocks.len() - 1)
    }

    /// Returns a block to its owner; `None` when the queue does not have it.
    pub fn remove(&mut self, id: BlockId) -> Option<HostBlock> {
        let block = self.blocks.get_mut(id.index())?.take()?;
        self.free.push(id);
        Some(block)
    }

    /// Number of blocks at hand.
    pub fn count(&self) -> usize {
        self.blocks.len() - self.free.len()
    }

    /// A range, to read.
    pub fn read(&self, range: MemoryRef) -> Option<&[u8]> {
        self.blocks.get(range.block.index())?.as_ref()?.bytes().get(range.range()?)
    }

    /// A range, to write; `None` for shared memory.
    pub fn write(&mut self, range: MemoryRef) -> Option<&mut [u8]> {
        self.blocks.get_mut(range.block.index())?.as_mut()?.bytes_mut()?.get_mut(range.range()?)
    }

    /// Borrows several ranges at once: any number to read, which may overlap each other, and some to write, which may
    /// overlap nothing. In memory that a caller lent, a launch writes one range or reads some. `lists` provides the
    /// memory of the lists.
    ///
    /// # Errors
    /// When a range lies outside of its block or a written one overlaps another or may not be written.
    pub fn borrow<'a>(
        &'a mut self,
        reads: &[MemoryRef],
        writes: &[MemoryRef],
        lists: Borrowed<'_>,
    ) -> Result<Borrowed<'a>, BlockError> {
        let mut borrowed: Borrowed<'a> = lists.recycled();
        for (position, range) in writes.iter().enumerate() {
            let others = writes[..position].iter().chain(reads);
            let is_lent = matches!(self.blocks.get(range.block.index()), Some(Some(HostBlock::Lent(_))));
            let meets = |other: &MemoryRef| range.overlaps(other) || is_lent && range.block == other.block;
            if others.into_iter().any(meets) {
                return Err(BlockError(*range));
            }
        }
        for range in writes {
            let error = BlockError(*range);
            let block = self.blocks.get_mut(range.block.index()).and_then(Option::as_mut);
            let (start, length) = match block.ok_or(error.clone())? {
                HostBlock::Shared(_) => return Err(error),
                HostBlock::Owned(buffer) => (buffer.as_mut_ptr(), buffer.len()),
                HostBlock::Lent(memory) => {
                    let bytes = memory.bytes_mut();
                    (bytes.as_mut_ptr(), bytes.len())
                }
            };
            let range = range.range().filter(|range| range.end <= length).ok_or(error)?;
            // SAFETY: the range lies inside of its block, which stays borrowed mutably for the lifetime of the result.
            // Written ranges overlap neither each other nor a read one, so no byte is reachable through a mutable
            // reference and any other reference at once. A buffer gives its pointer without a reference to its bytes;
            // the bytes of lent memory are asked for once where one range of it is written.
            borrowed.writes.push(unsafe { std::slice::from_raw_parts_mut(start.add(range.start), range.len()) });
        }
        for range in reads {
            let error = BlockError(*range);
            let block = self.blocks.get(range.block.index()).and_then(Option::as_ref);
            let (start, length) = match block.ok_or(error.clone())? {
                HostBlock::Shared(bytes) => (bytes.as_ptr(), bytes.len()),
                HostBlock::Owned(buffer) => (buffer.as_ptr(), buffer.len()),
                HostBlock::Lent(memory) => {
                    let bytes = memory.bytes();
                    (bytes.as_ptr(), bytes.len())
                }
            };
            let range = range.range().filter(|range| range.end <= length).ok_or(error)?;
            // SAFETY: as above.
            borrowed.reads.push(unsafe { std::slice::from_raw_parts(start.add(range.start), range.len()) });
        }
        Ok(borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::HostMemory;
    use crate::buffer::Buffer;

    #[test]
    fn lists_keep_their_memory() {
        let numbers: Vec<&[u8]> = Vec::with_capacity(9);
        let memory = numbers.as_ptr().addr();
        let again: Vec<&[u8]> = recycled(numbers);
        assert_eq!((again.as_ptr().addr(), again.capacity()), (memory, 9));
    }

    struct Array(Vec<u8>);

    impl HostMemory for Array {
        fn bytes(&self) -> &[u8] {
            &self.0
        }

        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    #[test]
    fn disjoint_ranges_are_lent_together() {
        let mut blocks = Blocks::default();
        let own = blocks.insert(HostBlock::Owned(Buffer::new(100)));
        let shared = blocks.insert(HostBlock::Shared(vec![7; 10].into()));
        let lent = blocks.insert(HostBlock::Lent(Box::new(Array(vec![0; 10]))));
        let at = |block, offset: usize, end: usize| MemoryRef { block, offset, bytes: end - offset };
        let mut borrow = |reads: &[MemoryRef], writes: &[MemoryRef]| {
            let borrowed = blocks.borrow(reads, writes, Borrowed::default())?;
            let lengths = |list: &[&[u8]]| list.iter().map(|bytes| bytes.len()).collect::<Vec<_>>();
            let written: Vec<usize> = borrowed.writes.iter().map(|bytes| bytes.len()).collect();
            Ok::<_, BlockError>((lengths(&borrowed.reads), written))
        };
        let reads = [at(own, 0, 10), at(own, 5, 20), at(shared, 1, 10)];
        assert_eq!(
            borrow(&reads, &[at(own, 20, 30), at(own, 30, 30), at(lent, 0, 9)]),
            Ok((vec![10, 15, 9], vec![10, 0, 9]))
        );
        assert!(borrow(&[at(own, 0, 10)], &[at(own, 9, 11)]).is_err());
        assert!(borrow(&[], &[at(own, 0, 5), at(own, 4, 6)]).is_err());
        assert!(borrow(&[at(own, 90, 101)], &[]).is_err());
        assert!(borrow(&[], &[at(own, 90, 101)]).is_err());
        assert!(borrow(&[], &[at(shared, 0, 1)]).is_err(), "shared memory is not written");
        assert!(borrow(&[at(lent, 0, 2)], &[at(lent, 4, 6)]).is_err(), "lent memory is read or written");
        assert!(borrow(&[at(lent, 0, 2), at(lent, 1, 6)], &[]).is_ok());
        let overflow = MemoryRef { block: own, offset: usize::MAX, bytes: 2 };
        assert!(borrow(&[overflow], &[]).is_err());
        let ids = [own, shared, lent];
        assert_eq!(blocks.count(), 3);
        assert!(ids.iter().all(|id| blocks.remove(*id).is_some()));
        assert!(blocks.remove(own).is_none() && blocks.count() == 0);
        assert!(blocks.read(at(own, 0, 1)).is_none());
    }
}
