//! Queues: the ordered work of one context on one device, as the runtime sees it.

use std::time::Duration;

use sinter_base::{BlockId, DataType, MemoryRef, Rows, Sizes};

use crate::kernel::KernelError;
use crate::memory::Memory;

/// A loaded kernel of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelId(pub u32);

/// Memory of a device that all its queues may read: a weight.
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
    /// From the first element to the last.
    pub memory: MemoryRef,
    /// Element type; types below eight bits take one byte per element.
    pub data_type: DataType,
    /// Sizes, outermost first.
    pub sizes: Sizes,
    /// The rows that elements lie in; `None` where they lie one after the other.
    pub rows: Option<Rows>,
}

/// An operand of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Left out.
    Absent,
    /// To be read.
    Memory(Argument),
    /// What the result of this index has already: the pair was offered as in place.
    InPlace(usize),
}

/// A result of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be written.
    Memory(Argument),
    /// The kernel tells the sizes; see [`Queue::dynamic_result`].
    Dynamic {
        /// Element type.
        data_type: DataType,
        /// Most bytes that it may take.
        limit: usize,
    },
}

/// Everything that one launch touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Operands in the region's order.
    pub inputs: Vec<Input>,
    /// Results in the region's order.
    pub outputs: Vec<Output>,
    /// Scratch memory of the size that the candidate asked for; `None` where that was not known before the run.
    pub workspace: Option<MemoryRef>,
}

/// What random numbers are drawn from: the seed of the run, and what tells this launch from others.
pub type Seed = (u64, u64);

/// See the module documentation. Work is done in the order of launches. An error of a launch may be told by any later call;
/// [`Queue::finish`] tells all. After an error the contents of blocks that were written are unspecified.
pub trait Queue: Memory + Send {
    /// A block through which kernels read a weight of the device. It is released as any other.
    ///
    /// # Errors
    /// When the device has no such weight.
    fn attach(&mut self, resident: ResidentId) -> Result<BlockId, KernelError>;

    /// Launches a kernel.
    ///
    /// # Errors
    /// When arguments do not lie in this queue's memory or do not fit the kernel, and errors of work.
    fn launch(&mut self, kernel: KernelId, arguments: &Arguments, seed: Seed) -> Result<(), KernelError>;

    /// The result of this index of the last launch, whose sizes the kernel told, in a block that the caller releases.
    /// Waits for it.
    ///
    /// # Errors
    /// When the kernel told none, and errors of work.
    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError>;

    /// Copies one range to another of the same length.
    ///
    /// # Errors
    /// As [`Queue::launch`].
    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError>;

    /// Marks this point in the work.
    ///
    /// # Errors
    /// Errors of work.
    fn record(&mut self) -> Result<Event, KernelError>;

    /// The time that the work between two points took. Waits for the later one.
    ///
    /// # Errors
    /// When there is no such point, and errors of work.
    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError>;

    /// Waits for all work.
    ///
    /// # Errors
    /// Errors of work.
    fn finish(&mut self) -> Result<(), KernelError>;

    /// Begins to record launches and copies instead of doing them. False, and nothing begun, where the device cannot.
    ///
    /// # Errors
    /// Errors of work.
    fn begin_capture(&mut self) -> Result<bool, KernelError>;

    /// Ends recording. The blocks that the work touches stay where they are until it is discarded.
    ///
    /// # Errors
    /// When nothing was begun, and errors of work.
    fn end_capture(&mut self) -> Result<CapturedId, KernelError>;

    /// Does recorded work again.
    ///
    /// # Errors
    /// As [`Queue::launch`].
    fn replay(&mut self, captured: CapturedId) -> Result<(), KernelError>;

    /// Forgets recorded work.
    fn discard_capture(&mut self, captured: CapturedId);

    /// Kernels may take this many bytes beside their arguments, for what they list or convert on the way.
    fn limit_scratch(&mut self, bytes: usize);
}
