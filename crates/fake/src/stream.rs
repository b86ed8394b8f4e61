//! The work of one context: a list of commands that the device executes when a caller waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sinter_backend::{Argument, Arguments, CapturedId, Event, Input, KernelError, Memory, Output, Seed, Stream};
use sinter_base::{BlockId, Buffer, MemoryRef, Value, View};
use sinter_ops::{EvalContext, EvalError, Memory as EvalMemory, ReferenceEvaluator};

use crate::faults::Call;
use crate::machine::{FakeKernel, FakeMachine};
use crate::memory::Allocation;

/// A block of a stream.
enum Block {
    Own(Allocation),
    /// A weight of the device, read only.
    Resident(Arc<Allocation>),
}

#[derive(Clone)]
enum Command {
    Launch { kernel: Arc<FakeKernel>, arguments: Arguments, seed: Seed },
    Copy { from: MemoryRef, to: MemoryRef },
    Write { to: MemoryRef, bytes: Vec<u8> },
    Release(BlockId),
}

/// See the module documentation.
pub struct FakeStream {
    machine: Arc<FakeMachine>,
    blocks: Vec<Option<Block>>,
    commands: Vec<Command>,
    /// Commands that are being recorded, if any.
    recording: Option<Vec<Command>>,
    captured: Vec<Option<Vec<Command>>>,
    /// Results of the last launch whose sizes the kernel determined.
    dynamic: Vec<Option<Argument>>,
    /// Number of launches before each event.
    events: Vec<u64>,
    launches: u64,
}

/// Scratch bytes of a kernel.
const SCRATCH: u64 = 1 << 28;
/// Duration of every launch, by the clock of the device.
const LAUNCH: Duration = Duration::from_micros(1);

fn data(error: impl std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

fn recipe(error: impl std::fmt::Display) -> KernelError {
    KernelError::Recipe(error.to_string())
}

impl FakeStream {
    pub(crate) fn new(machine: Arc<FakeMachine>) -> Self {
        Self {
            machine,
            blocks: Vec::new(),
            commands: Vec::new(),
            recording: None,
            captured: Vec::new(),
            dynamic: Vec::new(),
            events: Vec::new(),
            launches: 0,
        }
    }

    fn insert(&mut self, block: Block) -> BlockId {
        // Block indices are never reused, so that any use of a released block is an error.
        self.blocks.push(Some(block));
        BlockId::new(self.blocks.len() - 1)
    }

    fn bytes(&self, range: MemoryRef) -> Result<&[u8], KernelError> {
        let block = self.blocks.get(range.block.index()).and_then(Option::as_ref);
        let bytes = match block.ok_or_else(|| recipe(format!("{range:?}: the block was released")))? {
            Block::Own(memory) => &memory.bytes,
            Block::Resident(memory) => &memory.bytes,
        };
        let within = range.range().and_then(|range| bytes.get(range));
        within.ok_or_else(|| recipe(format!("{range:?} is outside of its block of {} bytes", bytes.len())))
    }

    fn bytes_mut(&mut self, range: MemoryRef) -> Result<&mut [u8], KernelError> {
        let block = self.blocks.get_mut(range.block.index()).and_then(Option::as_mut);
        let bytes = match block.ok_or_else(|| recipe(format!("{range:?}: the block was released")))? {
            Block::Own(memory) => &mut memory.bytes,
            Block::Resident(_) => return Err(recipe("a weight is written")),
        };
        let within = range.range().and_then(|range| bytes.get_mut(range));
        within.ok_or_else(|| recipe(format!("{range:?} is outside of its block")))
    }

    /// Appends a command to the recording, or else to the pending work.
    fn push(&mut self, command: Command) {
        self.recording.as_mut().unwrap_or(&mut self.commands).push(command);
    }

    /// Executes all pending commands. After an error it only releases blocks.
    fn work(&mut self) -> Result<(), KernelError> {
        let mut done = Ok(());
        for command in std::mem::take(&mut self.commands) {
            match command {
                Command::Release(block) => {
                    if let Some(slot) = self.blocks.get_mut(block.index()) {
                        *slot = None;
                    }
                }
                other if done.is_ok() => done = self.execute(other),
                _ => {}
            }
        }
        done
    }

    fn execute(&mut self, command: Command) -> Result<(), KernelError> {
        match command {
            Command::Write { to, bytes } => self.store(to, &bytes),
            Command::Copy { from, to } => {
                let bytes = self.bytes(from)?.to_vec();
                self.store(to, &bytes)
            }
            Command::Launch { kernel, arguments, seed } => {
                self.machine.faults.call(Call::Launch)?;
                self.evaluate(&kernel, &arguments, seed)
            }
            Command::Release(_) => Ok(()),
        }
    }

    fn store(&mut self, to: MemoryRef, bytes: &[u8]) -> Result<(), KernelError> {
        let target = self.bytes_mut(to)?;
        if target.len() != bytes.len() {
            return Err(recipe(format!("{} bytes for a range of {}", bytes.len(), target.len())));
        }
        target.copy_from_slice(bytes);
        Ok(())
    }

    fn value(&self, argument: &Argument) -> Result<Value, KernelError> {
        let Argument { memory, data_type, sizes, rows } = argument;
        if rows.is_some() {
            return Err(recipe("the device has no strided tensors"));
        }
        // Bytes of the device have no alignment.
        let mut buffer = Buffer::new(memory.bytes);
        buffer.bytes_mut().copy_from_slice(self.bytes(*memory)?);
        let view = View::new(*data_type, sizes, buffer.bytes()).map_err(data)?;
        view.to_tensor().map(Value::Tensor).map_err(data)
    }

    fn evaluate(&mut self, kernel: &FakeKernel, arguments: &Arguments, seed: Seed) -> Result<(), KernelError> {
        let mut operands = Vec::new();
        for input in &arguments.inputs {
            match input {
                Input::Absent => {}
                Input::Memory(argument) => operands.push(Some(self.value(argument)?)),
                Input::InPlace(_) => return Err(recipe("the device computes nothing in place")),
            }
        }
        let (seed, iteration) = seed;
        let memory = EvalMemory::of(SCRATCH);
        let cx = EvalContext { seed, iteration, memory, ..EvalContext::new(&ReferenceEvaluator) };
        let results = kernel.region.body().evaluate(operands, &cx).map_err(|error| match error {
            EvalError::Memory { .. } => KernelError::Memory(error.to_string()),
            other => data(other),
        })?;
        for (position, (output, result)) in arguments.outputs.iter().zip(results).enumerate() {
            let tensor = result.as_tensor().ok_or_else(|| recipe("a result is no tensor"))?;
            let (bytes, sizes) = (Buffer::of(tensor), tensor.sizes());
            match output {
                Output::Memory(argument) if argument.sizes.as_slice() == sizes && argument.rows.is_none() => {
                    self.store(argument.memory, bytes.bytes())?;
                }
                Output::Memory(argument) => {
                    return Err(data(format!("a result of sizes {sizes:?} where {:?} has its place", argument.sizes)));
                }
                Output::Dynamic { data_type, limit } => {
                    if bytes.len() > *limit {
                        return Err(KernelError::Memory(format!("a result of {} bytes", bytes.len())));
                    }
                    self.machine.faults.call(Call::Memory)?;
                    let mut memory = self.machine.account.take(bytes.len())?;
                    memory.bytes.copy_from_slice(bytes.bytes());
                    let block = self.insert(Block::Own(memory));
                    let memory = MemoryRef { block, offset: 0, bytes: bytes.len() };
                    let made = Argument { memory, data_type: *data_type, sizes: sizes.into(), rows: None };
                    if let Some(slot) = self.dynamic.get_mut(position) {
                        *slot = Some(made);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Memory for FakeStream {
    fn allocate(&mut self, bytes: usize) -> Result<BlockId, KernelError> {
        self.machine.faults.call(Call::Memory)?;
        let memory = self.machine.account.take(bytes)?;
        Ok(self.insert(Block::Own(memory)))
    }

    fn release(&mut self, block: BlockId) {
        self.commands.push(Command::Release(block));
    }

    fn write(&mut self, to: MemoryRef, from: &[u8]) -> Result<(), KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.commands.push(Command::Write { to, bytes: from.to_vec() });
        Ok(())
    }

    fn read(&mut self, from: MemoryRef, to: &mut [u8]) -> Result<(), KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.work()?;
        let bytes = self.bytes(from)?;
        if bytes.len() != to.len() {
            return Err(recipe(format!("{} bytes are read as {}", bytes.len(), to.len())));
        }
        to.copy_from_slice(bytes);
        Ok(())
    }
}

impl Stream for FakeStream {
    type Kernel = FakeKernel;
    type Resident = Arc<Allocation>;

    fn attach(&mut self, resident: &Arc<Allocation>) -> Result<BlockId, KernelError> {
        self.machine.faults.call(Call::Other)?;
        Ok(self.insert(Block::Resident(resident.clone())))
    }

    fn launch(&mut self, kernel: &Arc<FakeKernel>, arguments: &Arguments, seed: Seed) -> Result<(), KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.launches += 1;
        let has_open = arguments.outputs.iter().any(|output| matches!(output, Output::Dynamic { .. }));
        if has_open {
            // The caller has taken the results of the last such launch, or does not need them.
            self.work()?;
            self.dynamic.clear();
            self.dynamic.resize_with(arguments.outputs.len(), || None);
        }
        self.push(Command::Launch { kernel: kernel.clone(), arguments: arguments.clone(), seed });
        Ok(())
    }

    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.work()?;
        let made = self.dynamic.get_mut(output).and_then(Option::take);
        made.ok_or_else(|| recipe(format!("result {output} has a known size or is taken")))
    }

    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.push(Command::Copy { from, to });
        Ok(())
    }

    fn record(&mut self) -> Result<Event, KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.events.push(self.launches);
        Ok(Event(self.events.len() as u64 - 1))
    }

    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.work()?;
        let at = |event: Event| usize::try_from(event.0).ok().and_then(|at| self.events.get(at)).copied();
        let (Some(from), Some(to)) = (at(from), at(to)) else { return Err(recipe("an event that is not there")) };
        Ok(LAUNCH * u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX))
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.work()
    }

    fn begin_capture(&mut self) -> Result<bool, KernelError> {
        self.machine.faults.call(Call::Other)?;
        self.recording = Some(Vec::new());
        Ok(true)
    }

    fn end_capture(&mut self) -> Result<CapturedId, KernelError> {
        self.machine.faults.call(Call::Other)?;
        let recorded = self.recording.take().ok_or_else(|| recipe("nothing is being recorded"))?;
        self.captured.push(Some(recorded));
        self.machine.captures.fetch_add(1, Ordering::Relaxed);
        u32::try_from(self.captured.len() - 1).map(CapturedId).map_err(recipe)
    }

    fn replay(&mut self, captured: CapturedId) -> Result<(), KernelError> {
        self.machine.faults.call(Call::Other)?;
        let at = usize::try_from(captured.0).unwrap_or(usize::MAX);
        let recorded = self.captured.get(at).and_then(Option::as_ref);
        let recorded = recorded.ok_or_else(|| recipe("the recorded work was discarded"))?;
        self.launches += recorded.len() as u64;
        self.commands.extend(recorded.iter().cloned());
        self.machine.replays.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn discard_capture(&mut self, captured: CapturedId) {
        let at = usize::try_from(captured.0).unwrap_or(usize::MAX);
        if let Some(slot) = self.captured.get_mut(at) {
            *slot = None;
        }
    }

    fn limit_scratch(&mut self, _: usize) {}
}
