//! Copies between the host and the device through a ring of pinned buffers: while the device copies one, the host fills or
//! empties the next. The caller's memory is free again when a call returns.

use std::sync::Arc;

use cudarc::driver::sys;
use smallvec::SmallVec;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};
use crate::driver::event::Event;
use crate::driver::pinned::Pinned;
use crate::driver::stream::Stream;

/// Bytes of one buffer: long enough for the bus to reach its speed.
const CHUNK: usize = 2 << 20;
/// Buffers of a ring.
const BUFFERS: usize = 3;

/// A pinned buffer, and the end of the last copy that used it.
#[derive(Debug)]
struct Buffer {
    memory: Pinned,
    end: Event,
}

/// A ring of pinned buffers for the copies of one stream. It makes its buffers when it needs them first.
#[derive(Debug)]
pub struct Staging {
    context: Arc<Context>,
    buffers: Vec<Buffer>,
    next: usize,
}

impl Staging {
    /// An empty ring.
    pub fn new(context: &Arc<Context>) -> Self {
        Self { context: context.clone(), buffers: Vec::new(), next: 0 }
    }

    /// The buffer that was used longest ago, after its copy has ended; long enough for `bytes` or for a chunk.
    fn take(&mut self, bytes: usize) -> Result<usize, DriverError> {
        if self.buffers.len() < BUFFERS && self.next == self.buffers.len() {
            // Small copies are frequent and need no long buffer; the length is a power of two to be useful again.
            let length = bytes.next_power_of_two().clamp(4096, CHUNK);
            let memory = Pinned::new(&self.context, length)?;
            self.buffers.push(Buffer { memory, end: Event::untimed(&self.context)? });
        }
        let at = self.next % self.buffers.len();
        self.next = (at + 1) % BUFFERS;
        let buffer = &mut self.buffers[at];
        buffer.end.synchronize()?;
        if buffer.memory.bytes() < bytes.min(CHUNK) {
            buffer.memory = Pinned::new(&self.context, bytes.next_power_of_two().clamp(4096, CHUNK))?;
        }
        Ok(at)
    }

    /// Copies host bytes to an address on the device, in the order of the stream's work.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn write(&mut self, stream: &Stream, to: u64, from: &[u8]) -> Result<(), DriverError> {
        let mut address = to;
        for chunk in from.chunks(CHUNK) {
            let at = self.take(chunk.len())?;
            let buffer = &self.buffers[at];
            // SAFETY: the buffer has at least as many bytes as the chunk, belongs to this ring, and no copy uses it.
            unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), buffer.memory.pointer(), chunk.len()) };
            let source = buffer.memory.pointer().cast_const().cast();
            // SAFETY: the ring keeps the source unchanged until the event that is recorded next.
            let result = unsafe { sys::cuMemcpyHtoDAsync_v2(address, source, chunk.len(), stream.raw()) };
            check("cuMemcpyHtoDAsync", result)?;
            buffer.end.record(stream)?;
            address += chunk.len() as u64;
        }
        Ok(())
    }

    /// Copies from an address on the device to host bytes, after all earlier work of the stream.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn read(&mut self, stream: &Stream, from: u64, to: &mut [u8]) -> Result<(), DriverError> {
        let mut address = from;
        // Copies that the device has begun, oldest first.
        let mut begun: SmallVec<[(usize, &mut [u8]); BUFFERS]> = SmallVec::new();
        for chunk in to.chunks_mut(CHUNK) {
            if begun.len() == BUFFERS - 1 {
                let (at, target) = begun.remove(0);
                self.collect(at, target)?;
            }
            let at = self.take(chunk.len())?;
            let buffer = &self.buffers[at];
            let target = buffer.memory.pointer().cast();
            // SAFETY: the buffer has at least as many bytes as the chunk, and the ring does not touch it until the event
            // that is recorded next.
            let result = unsafe { sys::cuMemcpyDtoHAsync_v2(target, address, chunk.len(), stream.raw()) };
            check("cuMemcpyDtoHAsync", result)?;
            buffer.end.record(stream)?;
            address += chunk.len() as u64;
            begun.push((at, chunk));
        }
        begun.into_iter().try_for_each(|(at, target)| self.collect(at, target))
    }

    /// Waits for the copy into a buffer, and moves its bytes to the caller.
    fn collect(&self, at: usize, target: &mut [u8]) -> Result<(), DriverError> {
        let buffer = &self.buffers[at];
        buffer.end.synchronize()?;
        // SAFETY: the copy into the buffer has ended, and wrote as many bytes as the target has.
        unsafe {
            std::ptr::copy_nonoverlapping(buffer.memory.pointer().cast_const(), target.as_mut_ptr(), target.len())
        };
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for buffer in &self.buffers {
            // An error means that the context is gone, and its copies with it.
            let _ = buffer.end.synchronize();
        }
    }
}
