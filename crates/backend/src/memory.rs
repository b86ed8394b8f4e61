//! Memory of a device: blocks that only the device's queue can touch.

use sinter_base::{BlockId, HostBlock, MemoryRef};

use crate::kernel::KernelError;

/// The memory that one queue works in.
pub trait Memory {
    /// A block of this many bytes, contents unspecified, aligned for every kernel.
    ///
    /// # Errors
    /// When the device has not so much memory.
    fn allocate(&mut self, bytes: usize) -> Result<BlockId, KernelError>;

    /// Gives a block back once all work that was launched before is done with it.
    fn release(&mut self, block: BlockId);

    /// Copies bytes of the host into a range, behind all work that was launched before.
    ///
    /// # Errors
    /// When the range is none of this memory or has another length, and errors of the device.
    fn write(&mut self, to: MemoryRef, from: &[u8]) -> Result<(), KernelError>;

    /// Copies a range to the host, once all work that was launched before is done.
    ///
    /// # Errors
    /// When the range is none of this memory or has another length, and errors of that work.
    fn read(&mut self, from: MemoryRef, to: &mut [u8]) -> Result<(), KernelError>;

    /// Takes over memory of the host as a block, without a copy.
    ///
    /// # Errors
    /// Gives the memory back where kernels cannot work in it.
    fn adopt(&mut self, memory: HostBlock) -> Result<BlockId, HostBlock>;

    /// Gives a block back as memory of the host, without a copy; `None` where it is none, or not there.
    fn reclaim(&mut self, block: BlockId) -> Option<HostBlock>;

    /// The bytes of a range as they lie; `None` where the host cannot read them.
    fn host_bytes(&self, range: MemoryRef) -> Option<&[u8]>;
}
