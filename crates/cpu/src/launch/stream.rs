//! The stream of a context on the host: blocks of memory, and launches that complete before they return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinter_backend::{Argument, Arguments, End, Event, Input, KernelError, Memory, Output as Place, Seed, Stream};
use sinter_base::blocks::{Borrowed, recycled};
use sinter_base::{BlockId, Blocks, Buffer, HostBlock, MemoryRef, Rows, View, ViewMut};

use crate::launch::kernel::{DynamicOutput, Kernel, Launch, Operand, Output, Workers};
use crate::launch::lease::Lease;
use crate::launch::machine::{HostKernel, Threads};
use crate::launch::panic::caught;
use crate::launch::scratch::Scratch;
use crate::single_thread::SingleThread;

/// See the module documentation.
pub struct HostStream {
    blocks: Blocks,
    scratch: Scratch,
    threads: Threads,
    lease: Option<Lease>,
    lists: Lists,
    /// Dynamic results whose sizes the last launch computed, by result.
    dynamic: Vec<Option<DynamicOutput>>,
    events: Vec<Instant>,
}

/// Lists that every launch needs, reused so that no launch allocates them.
#[derive(Default)]
struct Lists {
    reads: Vec<MemoryRef>,
    writes: Vec<MemoryRef>,
    borrowed: Borrowed<'static>,
    inputs: Vec<Operand<'static>>,
    outputs: Vec<Output<'static>>,
}

fn data(error: impl std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

fn recipe(error: impl std::fmt::Display) -> KernelError {
    KernelError::Recipe(error.to_string())
}

fn no_range(range: MemoryRef) -> KernelError {
    recipe(format!("{} bytes at {} of block {} are not there", range.bytes, range.offset, range.block.index()))
}

/// A kernel must never get a strided view that it does not support, even from a damaged plan.
fn admit(kernel: &dyn Kernel, end: End, rows: Option<Rows>, sizes: &[usize]) -> Result<(), KernelError> {
    match rows {
        Some(rows) if !kernel.stride_support(end).admits(rows, sizes) => {
            Err(recipe(format!("{end:?} of the kernel may not lie in rows of {} elements", rows.inner)))
        }
        _ => Ok(()),
    }
}

impl HostStream {
    /// New work on such threads.
    pub(crate) fn new(threads: Threads) -> Self {
        Self {
            blocks: Blocks::default(),
            scratch: Scratch::default(),
            threads,
            lease: None,
            lists: Lists::default(),
            dynamic: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Launches a kernel on views of its arguments.
    fn run(&mut self, kernel: &HostKernel, arguments: &Arguments, seed: Seed) -> Result<(), KernelError> {
        let Self { blocks, scratch, threads, lease, lists, dynamic, .. } = self;
        let workers: &dyn Workers = match threads {
            Threads::Given(workers) => &**workers,
            Threads::Leased(1) => &SingleThread,
            Threads::Leased(threads) => lease.get_or_insert_with(|| Lease::of(*threads)).workers(),
        };
        let Lists { reads, writes, .. } = lists;
        reads.clear();
        reads.extend(arguments.inputs.iter().filter_map(|input| match input {
            Input::Memory(argument) => Some(argument.memory),
            Input::Absent | Input::InPlace(_) => None,
        }));
        writes.clear();
        writes.extend(arguments.outputs.iter().filter_map(|output| match output {
            Place::Memory(argument) => Some(argument.memory),
            Place::Dynamic { .. } => None,
        }));
        // Behind the results comes the scratch memory.
        writes.extend(arguments.workspace);
        dynamic.clear();
        if arguments.outputs.iter().any(|output| matches!(output, Place::Dynamic { .. })) {
            dynamic.extend(arguments.outputs.iter().map(|output| match output {
                Place::Memory(_) => None,
                Place::Dynamic { data_type, limit } => Some(DynamicOutput::with_limit(*data_type, *limit)),
            }));
        }
        let mut borrowed = blocks.borrow(reads, writes, std::mem::take(&mut lists.borrowed)).map_err(recipe)?;
        let (mut read, mut written) = (borrowed.reads.drain(..), borrowed.writes.drain(..));
        let missing = || recipe("an argument without memory");
        let mut inputs: Vec<Operand<'_>> = recycled(std::mem::take(&mut lists.inputs));
        for (position, input) in arguments.inputs.iter().enumerate() {
            inputs.push(match input {
                Input::Absent => Operand::Absent,
                Input::InPlace(output) => Operand::InPlace(*output),
                Input::Memory(Argument { data_type, sizes, rows, .. }) => {
                    let bytes = read.next().ok_or_else(missing)?;
                    let view = match rows {
                        Some(rows) => View::strided(*data_type, sizes, bytes, *rows),
                        None => View::new(*data_type, sizes, bytes),
                    };
                    let view = view.map_err(data)?;
                    admit(&*kernel.kernel, End::Operand(position), view.rows(), view.sizes())?;
                    Operand::View(view)
                }
            });
        }
        let mut outputs: Vec<Output<'_>> = recycled(std::mem::take(&mut lists.outputs));
        let mut slots = dynamic.iter_mut();
        for (position, output) in arguments.outputs.iter().enumerate() {
            outputs.push(match (output, slots.next().and_then(Option::as_mut)) {
                (_, Some(dynamic)) => Output::Dynamic(dynamic),
                (Place::Memory(Argument { data_type, sizes, rows, .. }), None) => {
                    let bytes = written.next().ok_or_else(missing)?;
                    let view = match rows {
                        Some(rows) => ViewMut::strided(*data_type, sizes, bytes, *rows),
                        None => ViewMut::new(*data_type, sizes, bytes),
                    };
                    let view = view.map_err(data)?;
                    admit(&*kernel.kernel, End::Result(position), view.rows(), view.sizes())?;
                    Output::View(view)
                }
                (Place::Dynamic { .. }, None) => return Err(missing()),
            });
        }
        let workspace = written.next().unwrap_or_default();
        drop((read, written));
        let launched = kernel.kernel.launch(&mut Launch {
            workers,
            inputs: &inputs,
            outputs: &mut outputs,
            workspace,
            scratch,
            seed,
        });
        lists.inputs = recycled(inputs);
        lists.outputs = recycled(outputs);
        lists.borrowed = borrowed.recycled();
        launched
    }
}

impl Memory for HostStream {
    fn allocate(&mut self, bytes: usize) -> Result<BlockId, KernelError> {
        let mut buffer = Buffer::default();
        match buffer.try_resize(bytes) {
            true => Ok(self.blocks.insert(HostBlock::Owned(buffer))),
            false => Err(KernelError::Memory(format!("a block of {bytes} bytes"))),
        }
    }

    fn release(&mut self, block: BlockId) {
        self.blocks.remove(block);
    }

    fn write(&mut self, to: MemoryRef, from: &[u8]) -> Result<(), KernelError> {
        match self.blocks.write(to) {
            Some(bytes) if bytes.len() == from.len() => {
                bytes.copy_from_slice(from);
                Ok(())
            }
            _ => Err(no_range(to)),
        }
    }

    fn read(&mut self, from: MemoryRef, to: &mut [u8]) -> Result<(), KernelError> {
        match self.blocks.read(from) {
            Some(bytes) if bytes.len() == to.len() => {
                to.copy_from_slice(bytes);
                Ok(())
            }
            _ => Err(no_range(from)),
        }
    }

    fn adopt(&mut self, memory: HostBlock) -> Result<BlockId, HostBlock> {
        Ok(self.blocks.insert(memory))
    }

    fn reclaim(&mut self, block: BlockId) -> Option<HostBlock> {
        self.blocks.remove(block)
    }

    fn host_bytes(&self, range: MemoryRef) -> Option<&[u8]> {
        self.blocks.read(range)
    }
}

impl Stream for HostStream {
    type Kernel = HostKernel;
    type Resident = Bytes;

    fn attach(&mut self, resident: &Bytes) -> Result<BlockId, KernelError> {
        Ok(self.blocks.insert(HostBlock::Shared(resident.clone())))
    }

    fn launch(&mut self, kernel: &Arc<HostKernel>, arguments: &Arguments, seed: Seed) -> Result<(), KernelError> {
        caught(&kernel.tactic, || self.run(kernel, arguments, seed))
    }

    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError> {
        let dynamic = self.dynamic.get_mut(output).and_then(Option::take);
        let dynamic = dynamic.ok_or_else(|| recipe(format!("result {output} has a known size or is taken")))?;
        let (data_type, sizes, buffer) = dynamic.into_parts()?;
        let bytes = buffer.len();
        let block = self.blocks.insert(HostBlock::Owned(buffer));
        Ok(Argument { memory: MemoryRef { block, offset: 0, bytes }, data_type, sizes, rows: None })
    }

    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError> {
        let mut borrowed = self.blocks.borrow(&[from], &[to], Borrowed::default()).map_err(recipe)?;
        match (borrowed.reads.first(), borrowed.writes.first_mut()) {
            (Some(from), Some(to)) if from.len() == to.len() => to.copy_from_slice(from),
            _ => return Err(recipe(format!("a copy of {} bytes to {}", from.bytes, to.bytes))),
        }
        Ok(())
    }

    fn record(&mut self) -> Result<Event, KernelError> {
        self.events.push(Instant::now());
        Ok(Event(self.events.len() as u64 - 1))
    }

    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError> {
        let at = |event: Event| usize::try_from(event.0).ok().and_then(|at| self.events.get(at));
        match (at(from), at(to)) {
            (Some(from), Some(to)) => Ok(to.saturating_duration_since(*from)),
            _ => Err(recipe("an event that was never recorded")),
        }
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        self.lease = None;
        self.events.clear();
        Ok(())
    }

    fn limit_scratch(&mut self, bytes: usize) {
        self.scratch.set_limit(bytes);
    }
}
