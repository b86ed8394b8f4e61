//! The work of one context: launches and copies on a CUDA stream, in device memory of its own.

use std::sync::Arc;
use std::time::Duration;

use sinter_backend::{
    Argument, Arguments, CapturedId, Event, Input, KernelError, Memory, Output, Seed, Stream as StreamInterface, panic,
};
use sinter_base::view::element_bytes;
use sinter_base::{BlockId, MemoryRef};

use crate::blocks::{Access, Block, Blocks};
use crate::driver::{self, DeviceBuffer, FaultWord, Graph, Staging, graph, memory};
use crate::kernel::{Cooperation, Fault, Geometry, Launch, Sink, Tensor};
use crate::machine::{CudaKernel, CudaMachine};

/// Events that a stream keeps; a later one replaces the oldest.
const EVENTS: usize = 1 << 16;

/// Recorded work, with the memory that it accesses.
struct Captured {
    graph: Graph,
    memory: Vec<Arc<DeviceBuffer>>,
}

/// See the module documentation.
pub struct CudaStream {
    // Fields are dropped in this order: graphs, then memory, then the stream that frees it.
    captured: Vec<Option<Captured>>,
    blocks: Blocks,
    staging: Staging,
    /// Memory of the work that is being recorded, if any.
    recording: Option<Vec<Arc<DeviceBuffer>>>,
    /// Events in the order of their numbers, the newest of each place.
    events: Vec<driver::Event>,
    next_event: u64,
    fault: FaultWord,
    stream: Arc<driver::Stream>,
    machine: Arc<CudaMachine>,
}

fn recipe(text: impl Into<String>) -> KernelError {
    KernelError::Recipe(text.into())
}

impl CudaStream {
    pub(crate) fn new(machine: Arc<CudaMachine>) -> Result<Self, KernelError> {
        let context = machine.context();
        Ok(Self {
            captured: Vec::new(),
            blocks: Blocks::default(),
            staging: Staging::new(context),
            recording: None,
            events: Vec::new(),
            next_event: 0,
            fault: FaultWord::new(context)?,
            stream: driver::Stream::new(context)?,
            machine,
        })
    }

    /// The address of a range, whose memory a recording keeps.
    fn address(&mut self, range: MemoryRef, access: Access) -> Result<u64, KernelError> {
        let address = self.blocks.address(range, access)?;
        if let (Some(recording), Some(block)) = (&mut self.recording, self.blocks.get(range.block)) {
            recording.push(block.buffer().clone());
        }
        Ok(address)
    }

    /// An argument with its address.
    fn tensor<'a>(&mut self, argument: &'a Argument, access: Access) -> Result<Tensor<'a>, KernelError> {
        let Argument { memory, data_type, sizes, rows } = argument;
        let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let span = count.and_then(|count| rows.map_or(Some(count), |rows| rows.span(count)));
        let bytes = span.and_then(|span| span.checked_mul(element_bytes(*data_type)));
        if bytes != Some(memory.bytes) {
            return Err(recipe(format!("{data_type}{sizes:?} does not describe {} bytes", memory.bytes)));
        }
        let address = self.address(*memory, access)?;
        if !address.is_multiple_of(element_bytes(*data_type).max(1) as u64) {
            return Err(recipe(format!("an operand of type {data_type} is not aligned")));
        }
        let rows = rows.filter(|rows| !rows.is_contiguous(count.unwrap_or(0)));
        Ok(Tensor { address, data_type: *data_type, sizes, rows })
    }

    /// Lets the stream of weights wait for all work here, where it frees one of these buffers.
    fn order(&self, buffers: &[Arc<DeviceBuffer>]) {
        if buffers.iter().all(|buffer| buffer.is_of(&self.stream)) {
            return;
        }
        let ordered = driver::Event::untimed(self.machine.context()).and_then(|event| {
            event.record(&self.stream)?;
            self.machine.weights().wait_for(&event)
        });
        if ordered.is_err() {
            // A second error means that the context is gone, and all work with it.
            let _ = self.stream.synchronize();
        }
    }

    /// Reports data that a kernel refused, after the work has ended.
    fn refused_data(&self) -> Result<(), KernelError> {
        match self.fault.take() {
            0 => Ok(()),
            word => Err(Fault::error(word)),
        }
    }

    fn not_while_recording(&self, call: &str) -> Result<(), KernelError> {
        match self.recording {
            None => Ok(()),
            Some(_) => Err(recipe(format!("{call} while work is being recorded"))),
        }
    }
}

/// The functions of one kernel on the stream.
struct OnStream<'a> {
    kernel: &'a CudaKernel,
    stream: &'a driver::Stream,
}

impl Sink for OnStream<'_> {
    fn run_together(
        &mut self,
        entry: usize,
        geometry: Geometry,
        cooperation: Cooperation,
        words: &[u64],
    ) -> Result<(), KernelError> {
        let function = self.kernel.functions.get(entry);
        let function = function.ok_or_else(|| recipe(format!("the kernel has no function {entry}")))?;
        Ok(function.launch(self.stream, geometry, cooperation, words)?)
    }
}

impl Memory for CudaStream {
    fn allocate(&mut self, bytes: usize) -> Result<BlockId, KernelError> {
        let pool = self.machine.pool();
        let buffer = match &self.recording {
            None => pool.allocate(bytes, &self.stream)?,
            // The stream would record the allocation.
            Some(_) => {
                let buffer = pool.allocate(bytes, self.machine.weights())?;
                self.machine.weights().synchronize()?;
                buffer
            }
        };
        Ok(self.blocks.insert(Block::Own(Arc::new(buffer))))
    }

    fn release(&mut self, block: BlockId) {
        let Some(block) = self.blocks.remove(block) else { return };
        match &mut self.recording {
            // The stream would record that it frees the memory.
            Some(recording) => recording.push(block.buffer().clone()),
            None => self.order(std::slice::from_ref(block.buffer())),
        }
    }

    fn write(&mut self, to: MemoryRef, from: &[u8]) -> Result<(), KernelError> {
        self.not_while_recording("a copy from the host")?;
        if to.bytes != from.len() {
            return Err(recipe(format!("{} bytes are copied to {}", from.len(), to.bytes)));
        }
        let address = self.blocks.address(to, Access::Write)?;
        Ok(self.staging.write(&self.stream, address, from)?)
    }

    fn read(&mut self, from: MemoryRef, to: &mut [u8]) -> Result<(), KernelError> {
        self.not_while_recording("a copy to the host")?;
        if from.bytes != to.len() {
            return Err(recipe(format!("{} bytes are copied to {}", from.bytes, to.len())));
        }
        let address = self.blocks.address(from, Access::Read)?;
        self.staging.read(&self.stream, address, to)?;
        self.refused_data()
    }
}

impl StreamInterface for CudaStream {
    type Kernel = CudaKernel;
    type Resident = Arc<DeviceBuffer>;

    fn attach(&mut self, resident: &Arc<DeviceBuffer>) -> Result<BlockId, KernelError> {
        Ok(self.blocks.insert(Block::Resident(resident.clone())))
    }

    fn launch(&mut self, kernel: &Arc<CudaKernel>, arguments: &Arguments, _seed: Seed) -> Result<(), KernelError> {
        let argument = |output: &'_ Output| match output {
            Output::Memory(_) => Ok(()),
            Output::Dynamic { .. } => Err(recipe(format!("'{}' determines no sizes of results", kernel.tactic))),
        };
        arguments.outputs.iter().try_for_each(argument)?;
        let mut outputs = smallvec::SmallVec::new();
        for output in &arguments.outputs {
            if let Output::Memory(argument) = output {
                outputs.push(self.tensor(argument, Access::Write)?);
            }
        }
        let mut inputs = smallvec::SmallVec::new();
        for input in &arguments.inputs {
            inputs.push(match input {
                Input::Absent => None,
                Input::Memory(argument) => Some(self.tensor(argument, Access::Read)?),
                Input::InPlace(result) => {
                    let missing = || recipe(format!("an operand in place of result {result}"));
                    Some(*outputs.get(*result).ok_or_else(missing)?)
                }
            });
        }
        let workspace = match arguments.workspace {
            None => None,
            Some(range) => Some((self.address(range, Access::Write)?, range.bytes)),
        };
        let mut sink = OnStream { kernel, stream: &self.stream };
        let mut launch = Launch {
            inputs,
            outputs,
            workspace,
            fault: self.fault.address(),
            units: self.machine.context().info().multiprocessors,
            sink: &mut sink,
        };
        panic::caught(&kernel.tactic, || kernel.kernel.launch(&mut launch))
    }

    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError> {
        Err(recipe(format!("no kernel determined the sizes of result {output}")))
    }

    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError> {
        if from.bytes != to.bytes {
            return Err(recipe(format!("{} bytes are copied to {}", from.bytes, to.bytes)));
        }
        let (source, target) = (self.address(from, Access::Read)?, self.address(to, Access::Write)?);
        Ok(memory::copy(&self.stream, source, target, from.bytes)?)
    }

    fn record(&mut self) -> Result<Event, KernelError> {
        self.not_while_recording("an event")?;
        let at = usize::try_from(self.next_event).unwrap_or(0) % EVENTS;
        if at == self.events.len() {
            self.events.push(driver::Event::timed(self.machine.context())?);
        }
        self.events[at].record(&self.stream)?;
        self.next_event += 1;
        Ok(Event(self.next_event - 1))
    }

    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError> {
        let find = |event: Event| {
            let is_kept = event.0 < self.next_event && self.next_event - event.0 <= EVENTS as u64;
            let at = usize::try_from(event.0).ok().filter(|_| is_kept).map(|number| number % EVENTS);
            at.and_then(|at| self.events.get(at)).ok_or_else(|| recipe("an event that does not exist any more"))
        };
        let (from, to) = (find(from)?, find(to)?);
        to.synchronize()?;
        Ok(driver::Event::elapsed(from, to)?)
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        self.not_while_recording("waiting")?;
        self.stream.synchronize()?;
        self.refused_data()
    }

    fn begin_capture(&mut self) -> Result<bool, KernelError> {
        self.not_while_recording("recording")?;
        graph::begin(&self.stream)?;
        self.recording = Some(Vec::new());
        Ok(true)
    }

    fn end_capture(&mut self) -> Result<CapturedId, KernelError> {
        let memory = self.recording.take().ok_or_else(|| recipe("nothing is being recorded"))?;
        let captured = Some(Captured { graph: graph::end(&self.stream)?, memory });
        let at = match self.captured.iter().position(Option::is_none) {
            Some(free) => {
                self.captured[free] = captured;
                free
            }
            None => {
                self.captured.push(captured);
                self.captured.len() - 1
            }
        };
        u32::try_from(at).map(CapturedId).map_err(|_| recipe("too many recordings"))
    }

    fn replay(&mut self, captured: CapturedId) -> Result<(), KernelError> {
        let at = usize::try_from(captured.0).unwrap_or(usize::MAX);
        let found = self.captured.get(at).and_then(Option::as_ref);
        Ok(found.ok_or_else(|| recipe("the recorded work was discarded"))?.graph.launch(&self.stream)?)
    }

    fn discard_capture(&mut self, captured: CapturedId) {
        let at = usize::try_from(captured.0).unwrap_or(usize::MAX);
        if let Some(captured) = self.captured.get_mut(at).and_then(Option::take) {
            self.order(&captured.memory);
        }
    }

    fn limit_scratch(&mut self, _: usize) {}
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        if self.recording.take().is_some() {
            // A run failed while it was being recorded; its recording is of no use.
            let _ = graph::end(&self.stream);
        }
        // Weights are freed by another stream: no work here may read them any more. An error means that the context is
        // gone.
        let _ = self.stream.synchronize();
    }
}
