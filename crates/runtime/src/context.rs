//! A context: the work and the memory of one inference at a time.

use std::sync::Arc;
use std::time::Duration;

use sinter_backend::Argument;
use sinter_base::{BlockId, MemoryRef, Value};
use sinter_plan::{Place, PlanGuard, PlanValueId, Port, Storage};

use crate::bind::bind;
use crate::bindings::Bindings;
use crate::capture::Captures;
use crate::engine::Shared;
use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::guard;
use crate::host_value::{HostTensor, HostValue, allocated, bytes_of};
use crate::outside::{Outside, look};
use crate::profile::{Observer, StepValues, Watch};
use crate::queues::Queues;
use crate::sizes::KnownSizes;
use crate::step::{Work, bind_steps, run_steps};

/// Activations, registers and scratch memory of one inference in flight. Made by [`crate::Engine::context`]; it keeps its
/// engine alive.
pub struct Context {
    pub(crate) engine: Arc<Shared>,
    pub(crate) state: State,
}

/// Counts of the work besides kernels that costs a context time; see [`Context::counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often the context solved sizes and placed buffers; two runs with the same sizes need it once.
    pub layouts: usize,
    /// How often the context inferred types while steps ran; only values with dynamic dimensions need it.
    pub inferences: usize,
}

impl Context {
    /// Bindings for this engine, with nothing bound.
    pub fn bindings(&self) -> Bindings {
        Bindings::new(&self.engine.plan)
    }

    /// Runs one inference on bound inputs; outputs lie in the bindings afterwards. Allocates nothing when sizes are those
    /// of the run before and the registers of the plan give the sizes of all values.
    ///
    /// # Errors
    /// When inputs are missing or of wrong types, or a step fails. The bindings keep their inputs. After a kernel panicked, the
    /// context refuses every further run.
    pub fn run_into(&mut self, bindings: &mut Bindings) -> Result<(), RuntimeError> {
        let engine = &*self.engine;
        if bindings.inputs.len() != engine.plan.inputs.len() || bindings.outputs.len() != engine.plan.outputs.len() {
            return Err(RuntimeError::Bindings);
        }
        bindings.take_feedback();
        let done = self.state.infer(engine, &mut bindings.inputs, &mut bindings.outputs, None);
        bindings.has_run(done.is_ok());
        done
    }

    /// Solves sizes and places buffers for bound inputs without running a step: the cost of a new shape. Outputs that feed
    /// inputs have become inputs afterwards.
    ///
    /// # Errors
    /// When inputs are missing or of wrong types, or their sizes contradict each other.
    pub fn prepare(&mut self, bindings: &mut Bindings) -> Result<(), RuntimeError> {
        bindings.take_feedback();
        self.state.prepare(&self.engine, &bindings.inputs)
    }

    /// Draws the random numbers of later runs from this seed. Runs with equal seeds and inputs have equal results, in any
    /// context, process and on any back end; a context begins with seed 0. An operator with a seed of its own keeps it.
    pub fn set_seed(&mut self, seed: u64) {
        self.state.seed = seed;
    }

    /// Runs one inference as [`Context::run_into`] does, and returns the time of its work on the device: from the start of the
    /// first launch to the end of the last one, by the device's clock. Copies between caller and device are not in it.
    ///
    /// # Errors
    /// As [`Context::run_into`].
    pub fn run_timed(&mut self, bindings: &mut Bindings) -> Result<Duration, RuntimeError> {
        self.state.is_timed = true;
        let done = self.run_into(bindings);
        self.state.is_timed = false;
        done.map(|()| self.state.device_time)
    }

    /// Bytes of activations for the last shapes.
    pub fn arena_bytes(&self) -> usize {
        self.state.frame.arena_bytes()
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        Counters { layouts: self.state.frame.layouts, inferences: self.state.frame.inferences }
    }
}

/// The memory of a context.
#[derive(Default)]
pub(crate) struct State {
    /// Queues and device memory, which the first run makes.
    devices: Option<OnDevices>,
    sizes: KnownSizes,
    /// The input that gave each register its size.
    bound: Vec<Option<usize>>,
    /// The seed of random numbers.
    seed: u64,
    /// Did a kernel panic in this context?
    is_poisoned: bool,
    /// Does the next run measure its time on the device?
    is_timed: bool,
    /// Time on the device of the last run that measured it.
    device_time: Duration,
    /// The memory and values that the bindings lend for the run.
    lent: Vec<Lent>,
    pub(crate) frame: Frame,
}

/// Queues, and the memory that they keep for all runs.
struct OnDevices {
    queues: Queues,
    /// Device memory for inputs that the device cannot read in the memory of the host, by input.
    uploads: Vec<Option<MemoryRef>>,
    captures: Captures,
}

/// Memory or a value that the bindings lend; they get it back after the run.
#[derive(Clone, Copy)]
enum Lent {
    /// The memory of an input.
    Input(usize, Place, BlockId),
    /// The value of an input that is no tensor of numbers.
    Value(usize),
    /// The memory of an output.
    Output(usize, Place, BlockId),
}

impl OnDevices {
    fn new(engine: &Shared) -> Result<Self, RuntimeError> {
        let uploads = engine.plan.inputs.iter().map(|_| None).collect();
        Ok(Self { queues: Queues::new(engine)?, uploads, captures: Captures::default() })
    }

    /// Copies an input to its device.
    fn upload(&mut self, position: usize, place: Place, bytes: &[u8]) -> Result<MemoryRef, RuntimeError> {
        let of_device = |source| RuntimeError::Device { source };
        let Some(slot) = self.uploads.get_mut(position) else {
            return Err(RuntimeError::Damaged(format!("input {position} has no place")));
        };
        if let Some(small) = slot.take_if(|known| known.bytes < bytes.len()) {
            self.captures.clear(self.queues.at(Place::MAIN));
            self.queues.at(place).release(small.block);
        }
        let queue = self.queues.at(place);
        let buffer = match *slot {
            Some(buffer) => buffer,
            None => {
                let block = queue.allocate(bytes.len()).map_err(of_device)?;
                *slot.insert(MemoryRef { block, offset: 0, bytes: bytes.len() })
            }
        };
        let range = MemoryRef { bytes: bytes.len(), ..buffer };
        queue.write(range, bytes).map_err(of_device)?;
        Ok(range)
    }
}

impl State {
    /// Binds sizes and places buffers.
    fn prepare(&mut self, engine: &Shared, inputs: &[Option<HostValue>]) -> Result<(), RuntimeError> {
        if self.is_poisoned {
            return Err(RuntimeError::Poisoned);
        }
        let plan = &engine.plan;
        let count = plan.shapes.register_count();
        self.sizes.registers.clear();
        self.sizes.registers.resize(count, 0);
        self.bound.clear();
        self.bound.resize(count, None);
        for (position, (port, given)) in plan.inputs.iter().zip(inputs).enumerate() {
            let declared = plan.graph.values.get(port.value.index()).map(|v| &v.ty);
            let declared = declared.ok_or_else(|| RuntimeError::Damaged(format!("'{}' has no value", port.name)))?;
            let default = || port.default.and_then(|weight| plan.weights.get(weight.index()));
            let (registers, bound) = (&mut self.sizes.registers, &mut self.bound);
            match (given, default()) {
                (Some(given), _) => bind(&plan.inputs, position, given, declared, &plan.shapes, registers, bound)?,
                (None, Some(weight)) => {
                    let given = HostValue::new(Value::Tensor(weight.tensor().clone()));
                    bind(&plan.inputs, position, &given, declared, &plan.shapes, registers, bound)?;
                }
                (None, None) => {
                    return Err(RuntimeError::MissingInput { name: port.name.clone(), ty: declared.to_string() });
                }
            }
        }
        let of_register = engine.stages.registers();
        plan.shapes.run_where(&mut self.sizes.registers, |at| of_register.get(at) == Some(&0))?;
        self.sizes.enter(0);
        if self.frame.is_placed_for(0, self.sizes.number) {
            return Ok(());
        }
        let is_known = |guard: &&PlanGuard| engine.stages.latest([&guard.left, &guard.right]) == 0;
        guard::check(plan, plan.guards.iter().filter(is_known), &self.sizes.registers)?;
        let done = self.place_buffers(engine);
        if done.is_err() {
            // The next run must not see unfinished memory or arguments.
            self.discard_devices(false);
        }
        done
    }

    /// Places buffers for the registers, and makes the arguments of all steps.
    fn place_buffers(&mut self, engine: &Shared) -> Result<(), RuntimeError> {
        let plan = &engine.plan;
        let OnDevices { queues, captures, .. } = match &mut self.devices {
            Some(known) => known,
            none => none.insert(OnDevices::new(engine)?),
        };
        let (frame, limit) = (&mut self.frame, engine.max_memory);
        frame.clear(&plan.graph, queues);
        let before = frame.arena_bytes();
        let layout = engine.loaded.layouts.first().ok_or_else(|| RuntimeError::Damaged("no layout".to_owned()))?;
        frame.place_buffers(&plan.graph, (layout, 0), &self.sizes.registers, self.sizes.number, limit, queues)?;
        if frame.arena_bytes() != before || engine.loaded.layouts.len() > 1 {
            // An arena has moved, or that of a later stage was released, so that recordings are invalid.
            captures.clear(queues.at(Place::MAIN));
        }
        let left = limit.saturating_sub(frame.arena_bytes());
        queues.all().for_each(|(_, queue)| queue.limit_scratch(left));
        bind_steps(&plan.graph, &engine.loaded, 0, frame, queues)
    }

    /// Runs one inference. Where the device works in the memory of the host, the bindings lend the memory of inputs and outputs
    /// to the queue; elsewhere the context copies inputs to the device and outputs from it. The bindings have all their memory
    /// afterwards, whether the run succeeded or not.
    pub(crate) fn infer(
        &mut self,
        engine: &Shared,
        inputs: &mut [Option<HostValue>],
        outputs: &mut [Option<HostValue>],
        observer: Option<&mut dyn Observer>,
    ) -> Result<(), RuntimeError> {
        self.prepare(engine, inputs)?;
        let done = self.lend(engine, inputs, outputs).and_then(|()| self.run(engine, observer));
        let done = done.and_then(|()| self.give(engine, outputs));
        self.hand_back(engine, inputs, outputs);
        if let Err(error) = &done {
            self.discard_devices(matches!(error, RuntimeError::Panic { .. }));
        }
        done
    }

    /// Drops the queue and all its memory, which a failed run may have left unfinished; the next run makes another queue.
    fn discard_devices(&mut self, is_poisoned: bool) {
        let old = std::mem::take(&mut self.frame);
        (self.frame.layouts, self.frame.inferences) = (old.layouts, old.inferences);
        self.devices = None;
        self.is_poisoned = is_poisoned;
    }

    /// Puts inputs and the memory of outputs into the frame, where steps find them.
    fn lend(
        &mut self,
        engine: &Shared,
        inputs: &mut [Option<HostValue>],
        outputs: &mut [Option<HostValue>],
    ) -> Result<(), RuntimeError> {
        let plan = &engine.plan;
        let Self { devices: Some(devices), frame, lent, seed, .. } = self else { return Err(without_device()) };
        let place_of = |id: PlanValueId| plan.graph.values.get(id.index()).map_or(Place::MAIN, |value| value.place);
        frame.clear(&plan.graph, &mut devices.queues);
        frame.seed = *seed;
        lent.clear();
        for (position, (port, slot)) in plan.inputs.iter().zip(inputs).enumerate() {
            let value = lend_input((position, place_of(port.value)), port, slot, devices, lent, engine)?;
            frame.keep(port.value, value, &mut devices.queues);
        }
        for (position, (id, slot)) in engine.direct.iter().zip(outputs).enumerate() {
            let Some(id) = id else { continue };
            let data_type = plan.graph.values.get(id.index()).map(|value| value.ty.data_type());
            let (Some(data_type), Some(sizes)) = (data_type, frame.sizes.get(id.index())) else { continue };
            let tensor =
                allocated(slot, data_type, sizes).map_err(|error| error.at_port(&port_name(engine, position)))?;
            let place = place_of(*id);
            match devices.queues.at(place).adopt(tensor.take_memory()) {
                Ok(block) => {
                    lent.push(Lent::Output(position, place, block));
                    let bytes = bytes_of(data_type, sizes).unwrap_or(0);
                    let memory = MemoryRef { block, offset: 0, bytes };
                    let argument = Argument { memory, data_type, sizes: sizes.clone(), rows: None };
                    frame.keep(*id, Outside::Memory { argument, place, is_owned: false }, &mut devices.queues);
                }
                Err(memory) => tensor.put_memory(memory),
            }
        }
        Ok(())
    }

    /// Runs all steps.
    fn run(&mut self, engine: &Shared, observer: Option<&mut dyn Observer>) -> Result<(), RuntimeError> {
        let is_timed = self.is_timed;
        let Self { devices: Some(devices), frame, sizes, device_time, .. } = self else { return Err(without_device()) };
        let mut watch = observer.map(Watch::new);
        let OnDevices { queues, captures, .. } = devices;
        let begin = is_timed.then(|| queues.at(Place::MAIN).record()).transpose().map_err(RuntimeError::of_work)?;
        if let Some(watch) = &mut watch {
            watch.begin(&mut StepValues { engine, frame, queues })?;
        }
        let mut work = Work { engine, sizes, queues, captures: Some(captures) };
        run_steps(&engine.plan.graph, &engine.loaded, frame, &mut work, watch.as_mut())?;
        if let Some(begin) = begin {
            let queue = queues.at(Place::MAIN);
            let elapsed = queue.record().and_then(|end| queue.elapsed(begin, end));
            *device_time = elapsed.map_err(RuntimeError::of_work)?;
        }
        queues.finish().map_err(RuntimeError::of_work)
    }

    /// Gives the bindings those outputs of a run that kernels did not write to their memory: moves memory that a kernel
    /// allocated, and copies other outputs into memory that the bindings keep.
    fn give(&mut self, engine: &Shared, outputs: &mut [Option<HostValue>]) -> Result<(), RuntimeError> {
        let plan = &engine.plan;
        let Self { devices: Some(devices), frame, lent, sizes, .. } = self else { return Err(without_device()) };
        let queues = &mut devices.queues;
        for (position, (port, slot)) in plan.outputs.iter().zip(outputs).enumerate() {
            if lent.iter().any(|lent| matches!(lent, Lent::Output(output, ..) if *output == position)) {
                continue;
            }
            let storage = plan.graph.values.get(port.value.index()).map(|value| &value.storage);
            let again = plan.outputs.iter().skip(position + 1).any(|later| later.value == port.value);
            let is_lent = slot.as_ref().and_then(HostValue::tensor).is_some_and(HostTensor::is_lent);
            if storage == Some(&Storage::Dynamic)
                && !again
                && !is_lent
                && let Some(made) = frame.outside.get_mut(port.value.index()).and_then(Option::take)
            {
                *slot = Some(taken(made, queues)?);
                continue;
            }
            let Some(argument) = frame.argument(&plan.graph, queues, port.value) else {
                let mut work = Work { engine, sizes, queues, captures: None };
                let value = work.value(&plan.graph, frame, port.value).map_err(RuntimeError::of_work)?;
                *slot = Some(HostValue::new(value));
                continue;
            };
            let buffer = allocated(slot, argument.data_type, &argument.sizes);
            let buffer = buffer.map_err(|error| error.at_port(&port.name))?;
            let missing = || RuntimeError::Damaged(format!("output '{}' has no memory", port.name));
            let mut buffer = buffer.view_mut().ok_or_else(missing)?;
            let place = plan.graph.values.get(port.value.index()).map_or(Place::MAIN, |value| value.place);
            look(&argument, queues.at(place), |view| {
                view.copy_to(buffer.bytes());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Returns lent memory and values to the bindings, whether the run succeeded or not.
    fn hand_back(&mut self, engine: &Shared, inputs: &mut [Option<HostValue>], outputs: &mut [Option<HostValue>]) {
        let Self { devices: Some(devices), frame, lent, .. } = self else { return };
        let mut put = |slot: Option<&mut Option<HostValue>>, place: Place, block: BlockId| {
            let memory = devices.queues.at(place).reclaim(block);
            if let (Some(Some(HostValue::Tensor(tensor))), Some(memory)) = (slot, memory) {
                tensor.put_memory(memory);
            }
        };
        for lent in lent.drain(..) {
            match lent {
                Lent::Input(position, place, block) => put(inputs.get_mut(position), place, block),
                Lent::Output(position, place, block) => put(outputs.get_mut(position), place, block),
                Lent::Value(position) => {
                    let id = engine.plan.inputs.get(position).map(|port| port.value.index());
                    let place = id.and_then(|id| frame.outside.get_mut(id)).and_then(Option::take);
                    if let (Some(slot), Some(Outside::Value(value))) = (inputs.get_mut(position), place) {
                        *slot = Some(HostValue::Value(value));
                    }
                }
            }
        }
    }
}

fn without_device() -> RuntimeError {
    RuntimeError::Damaged("a run without a queue".to_owned())
}

fn port_name(engine: &Shared, output: usize) -> String {
    engine.plan.outputs.get(output).map(|port| port.name.clone()).unwrap_or_default()
}

/// An input as steps read it; the default when the caller gave none.
fn lend_input(
    (position, place): (usize, Place),
    port: &Port,
    slot: &mut Option<HostValue>,
    devices: &mut OnDevices,
    lent: &mut Vec<Lent>,
    engine: &Shared,
) -> Result<Outside, RuntimeError> {
    let missing = || RuntimeError::Damaged(format!("input '{}' has neither value nor default", port.name));
    match slot {
        Some(HostValue::Tensor(tensor)) => {
            let (data_type, sizes) = (tensor.data_type(), tensor.sizes().clone());
            let bytes = bytes_of(data_type, &sizes).ok_or_else(missing)?;
            let memory = match devices.queues.at(place).adopt(tensor.take_memory()) {
                Ok(block) => {
                    lent.push(Lent::Input(position, place, block));
                    MemoryRef { block, offset: 0, bytes }
                }
                Err(memory) => {
                    let uploaded = memory.bytes().get(..bytes).ok_or_else(missing);
                    let uploaded = uploaded.and_then(|bytes| devices.upload(position, place, bytes));
                    tensor.put_memory(memory);
                    uploaded?
                }
            };
            let argument = Argument { memory, data_type, sizes, rows: None };
            Ok(Outside::Memory { argument, place, is_owned: false })
        }
        Some(HostValue::Value(_)) => match slot.take() {
            Some(HostValue::Value(value)) => {
                lent.push(Lent::Value(position));
                Ok(Outside::Value(value))
            }
            _ => Err(missing()),
        },
        None => {
            let weight = port.default.ok_or_else(missing)?;
            match devices.queues.weight(place, weight) {
                Some(argument) => Ok(Outside::Memory { argument: argument.clone(), place, is_owned: false }),
                None => {
                    let weight = engine.plan.weights.get(weight.index()).ok_or_else(missing)?;
                    Ok(Outside::Value(Value::Tensor(weight.tensor().clone())))
                }
            }
        }
    }
}

/// Takes a value that a kernel made: its memory where the host can take that over, else a copy.
fn taken(made: Outside, queues: &mut Queues) -> Result<HostValue, RuntimeError> {
    match made {
        Outside::Memory { argument, place, is_owned: true }
            if argument.rows.is_none() && argument.memory.offset == 0 =>
        {
            let queue = queues.at(place);
            let memory = match queue.reclaim(argument.memory.block) {
                Some(memory) => memory,
                None => {
                    let tensor = crate::outside::read(&argument, queue)?;
                    queue.release(argument.memory.block);
                    return Ok(HostValue::new(Value::Tensor(tensor)));
                }
            };
            let Argument { data_type, sizes, .. } = argument;
            let made = HostTensor::in_memory(data_type, &sizes, memory);
            let damaged = |_| RuntimeError::Damaged("a result is smaller than its sizes say".to_owned());
            made.map(HostValue::Tensor).map_err(damaged)
        }
        other => {
            let value = other.value(queues)?;
            other.release(queues);
            Ok(HostValue::new(value))
        }
    }
}
