//! Device memory: blocks that only the device's queue accesses.

use sinter_base::{BlockId, HostBlock, MemoryRef};

use crate::kernel::KernelError;

/// The memory of one queue.
///
/// The methods with a body are those of a device whose memory the host cannot reach.
pub trait Memory {
    /// Allocates a block of this many bytes with unspecified contents, aligned for every kernel.
    ///
    /// # Errors
    /// When the device has too little memory.
    fn allocate(&mut self, bytes: usize) -> Result<BlockId, KernelError>;

    /// Releases a block after all work that was launched before.
    fn release(&mut self, block: BlockId);

    /// Copies host bytes into a range, after all work that was launched before.
    ///
    /// # Errors
    /// When the range lies outside of this memory or has another length, and errors of the device.
    fn write(&mut self, to: MemoryRef, from: &[u8]) -> Result<(), KernelError>;

    /// Copies a range to the host, after all work that was launched before.
    ///
    /// # Errors
    /// When the range lies outside of this memory or has another length, and errors of that work.
    fn read(&mut self, from: MemoryRef, to: &mut [u8]) -> Result<(), KernelError>;

    /// Takes over host memory as a block, without a copy.
    ///
    /// # Errors
    /// Returns the memory where kernels cannot work in it.
    fn adopt(&mut self, memory: HostBlock) -> Result<BlockId, HostBlock> {
        Err(memory)
    }

    /// Returns a block as host memory, without a copy; `None` where it is device memory or does not exist.
    fn reclaim(&mut self, _block: BlockId) -> Option<HostBlock> {
        None
    }

    /// The bytes of a range in place; `None` where the host cannot read them.
    fn host_bytes(&self, _range: MemoryRef) -> Option<&[u8]> {
        None
    }
}
