//! Queues: the ordered work of one context on one device.

use std::time::Duration;

use sinter_base::{BlockId, DataType, MemoryRef, Rows, Sizes};

use crate::kernel::KernelError;
use crate::memory::Memory;

/// A loaded kernel of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelId(pub u32);

/// A weight in device memory, which all queues of the device may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResidentId(pub u32);

/// A point in the work of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u64);

/// Work that a queue has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CapturedId(pub u32);

/// A tensor in the memory of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its bytes, from the first element to the last.
    pub memory: MemoryRef,
    /// Element type; types below eight bits take one byte per element.
    pub data_type: DataType,
    /// Sizes, outermost first.
    pub sizes: Sizes,
    /// The rows of a strided tensor; `None` where the elements are contiguous.
    pub rows: Option<Rows>,
}

/// An operand of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The operand is left out.
    Absent,
    /// The kernel reads it.
    Memory(Argument),
    /// The operand shares memory with the result of this index: the candidate offered the pair as in place.
    InPlace(usize),
}

/// A result of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The kernel writes it.
    Memory(Argument),
    /// The kernel determines the sizes; see [`Queue::dynamic_result`].
    Dynamic {
        /// Element type.
        data_type: DataType,
        /// Limit on its bytes.
        limit: usize,
    },
}

/// All memory that one launch accesses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Operands in the region's order.
    pub inputs: Vec<Input>,
    /// Results in the region's order.
    pub outputs: Vec<Output>,
    /// Scratch memory of the size that the candidate declared; `None` where that size was unknown before the run.
    pub workspace: Option<MemoryRef>,
}

/// The source of random numbers: the seed of the run, and a number that distinguishes this launch from others.
pub type Seed = (u64, u64);

/// See the module documentation. The device executes launches in order. Any later call may return the error of a
/// launch; [`Queue::finish`] returns all of them. After an error the contents of written blocks are unspecified.
pub trait Queue: Memory + Send {
    /// Makes a weight of the device readable as a block. The caller releases it like any other block.
    ///
    /// # Errors
    /// When the device has no such weight.
    fn attach(&mut self, resident: ResidentId) -> Result<BlockId, KernelError>;

    /// Launches a kernel.
    ///
    /// # Errors
    /// When arguments lie outside of this queue's memory or do not fit the kernel, and errors of work.
    fn launch(&mut self, kernel: KernelId, arguments: &Arguments, seed: Seed) -> Result<(), KernelError>;

    /// Waits for the last launch, and returns its result of this index, whose sizes the kernel determined. The caller
    /// releases its block.
    ///
    /// # Errors
    /// When the kernel made no such result, and errors of work.
    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError>;

    /// Copies one range to another of the same length.
    ///
    /// # Errors
    /// As [`Queue::launch`].
    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError>;

    /// Records an event at this point of the work.
    ///
    /// # Errors
    /// Errors of work.
    fn record(&mut self) -> Result<Event, KernelError>;

    /// Waits for the later event, and returns the time of the work between both.
    ///
    /// # Errors
    /// When an event does not exist, and errors of work.
    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError>;

    /// Waits for all work.
    ///
    /// # Errors
    /// Errors of work.
    fn finish(&mut self) -> Result<(), KernelError>;

    /// Begins to record launches and copies instead of executing them. Returns false, and begins nothing, where the
    /// device cannot record.
    ///
    /// # Errors
    /// Errors of work.
    fn begin_capture(&mut self) -> Result<bool, KernelError>;

    /// Ends recording. The blocks that the recorded work accesses stay until it is discarded.
    ///
    /// # Errors
    /// When no recording was begun, and errors of work.
    fn end_capture(&mut self) -> Result<CapturedId, KernelError>;

    /// Executes recorded work again.
    ///
    /// # Errors
    /// As [`Queue::launch`].
    fn replay(&mut self, captured: CapturedId) -> Result<(), KernelError>;

    /// Discards recorded work.
    fn discard_capture(&mut self, captured: CapturedId);

    /// Limits the scratch memory that kernels allocate beside their arguments.
    fn limit_scratch(&mut self, bytes: usize);
}
