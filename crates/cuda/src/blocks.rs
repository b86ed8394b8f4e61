//! The blocks of a stream: device memory by block and range.

use std::sync::Arc;

use sinter_backend::KernelError;
use sinter_base::{BlockId, MemoryRef};

use crate::driver::DeviceBuffer;

/// The owner of a block's memory.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    /// Memory of the stream.
    Own(Arc<DeviceBuffer>),
    /// A weight of the device, read only.
    Resident(Arc<DeviceBuffer>),
}

impl Block {
    pub(crate) fn buffer(&self) -> &Arc<DeviceBuffer> {
        let (Self::Own(buffer) | Self::Resident(buffer)) = self;
        buffer
    }
}

/// Is memory read or written?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// All blocks of a stream.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    blocks: Vec<Option<Block>>,
    free: Vec<usize>,
}

fn error(text: String) -> KernelError {
    KernelError::Recipe(text)
}

impl Blocks {
    pub(crate) fn insert(&mut self, block: Block) -> BlockId {
        match self.free.pop() {
            Some(at) => {
                self.blocks[at] = Some(block);
                BlockId::new(at)
            }
            None => {
                self.blocks.push(Some(block));
                BlockId::new(self.blocks.len() - 1)
            }
        }
    }

    pub(crate) fn remove(&mut self, id: BlockId) -> Option<Block> {
        let block = self.blocks.get_mut(id.index())?.take()?;
        self.free.push(id.index());
        Some(block)
    }

    pub(crate) fn get(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(id.index())?.as_ref()
    }

    /// The address of a range.
    ///
    /// # Errors
    /// When the block was released, the range lies outside of it, or a weight would be written.
    pub(crate) fn address(&self, range: MemoryRef, access: Access) -> Result<u64, KernelError> {
        let block = self.get(range.block).ok_or_else(|| error(format!("{range:?}: the block was released")))?;
        if access == Access::Write && matches!(block, Block::Resident(_)) {
            return Err(error(format!("{range:?}: a weight would be written")));
        }
        let bytes = block.buffer().bytes();
        match range.range() {
            Some(inside) if inside.end <= bytes => Ok(block.buffer().pointer() + range.offset as u64),
            _ => Err(error(format!("{range:?} is outside of its block of {bytes} bytes"))),
        }
    }
}
