//! Blocks: memory of one device, and ranges of it. A reference gives no access; only the device's queue has access.

use bytes::Bytes;

use crate::buffer::Buffer;

/// A block of memory of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockId(u32);

impl BlockId {
    /// The block of this index.
    ///
    /// # Panics
    /// Beyond `u32::MAX`: no queue has so many blocks.
    pub fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer blocks"))
    }

    /// Its index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A range of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRef {
    /// The block.
    pub block: BlockId,
    /// Where the range begins, in bytes.
    pub offset: usize,
    /// Its length.
    pub bytes: usize,
}

impl MemoryRef {
    /// The range within the block; `None` when it overflows.
    pub fn range(&self) -> Option<std::ops::Range<usize>> {
        Some(self.offset..self.offset.checked_add(self.bytes)?)
    }

    /// Do both have bytes in common?
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |of: &Self| of.offset.saturating_add(of.bytes);
        self.block == other.block && self.offset < end(other) && other.offset < end(self)
    }
}

/// Memory of a caller: an array of another language, a mapped buffer. The same bytes are returned by every call.
pub trait HostMemory: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &[u8];

    /// The bytes, to write.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Memory of the host that can be a block of a queue, where the queue's device works in the host's memory.
pub enum HostBlock {
    /// Shared, to read.
    Shared(Bytes),
    /// Of our own.
    Owned(Buffer),
    /// Of a caller, to write.
    Lent(Box<dyn HostMemory>),
}

impl HostBlock {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned(buffer) => buffer.bytes(),
            Self::Lent(memory) => memory.bytes(),
        }
    }

    /// The bytes, to write; `None` for shared ones.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Self::Shared(_) => None,
            Self::Owned(buffer) => Some(buffer.bytes_mut()),
            Self::Lent(memory) => Some(memory.bytes_mut()),
        }
    }
}

impl std::fmt::Debug for HostBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Self::Shared(_) => "Shared",
            Self::Owned(_) => "Owned",
            Self::Lent(_) => "Lent",
        };
        write!(f, "{kind}({} bytes)", self.bytes().len())
    }
}
