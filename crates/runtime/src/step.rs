//! Running steps: a step is a launch on prepared arguments, a call of a kernel on whole values, a copy, or control flow.

use std::ops::Range;

use sinter_backend::panic::caught;
use sinter_backend::{
    Argument, Arguments, Input, KernelError, KernelId, Loaded, Output, Queue, Region, Seed, ValueKernel,
};
use sinter_base::{MemoryRef, TensorType, Value, ValueType};
use sinter_ops::control::nested::admits;
use sinter_ops::known::MAX_KNOWN;
use sinter_ops::{InferContext, ValueId};
use sinter_plan::{Action, Graph, Launch, Place, PlanValueId, Step, Storage};

use crate::arguments::{Binder, Changing};
use crate::capture::Captures;
use crate::engine::Shared;
use crate::error::RuntimeError;
use crate::frame::{Bound, Frame};
use crate::graph::{LoadedAction, LoadedGraph};
use crate::host_value::{bytes_of, tensor_of};
use crate::outside::{Outside, look};
use crate::profile::{StepValues, Watch};
use crate::queues::Queues;
use crate::sizes::KnownSizes;

/// The state that all steps of a run share.
pub(crate) struct Work<'a> {
    pub(crate) engine: &'a Shared,
    pub(crate) sizes: &'a mut KnownSizes,
    pub(crate) queues: &'a mut Queues,
    /// The recorded segments; `None` where the run records none.
    pub(crate) captures: Option<&'a mut Captures>,
}

impl Work<'_> {
    /// A named size of this run; `None` where no register holds it.
    pub(crate) fn size(&self, name: &str) -> Option<i64> {
        let register = self.engine.plan.shapes.symbol(name)?;
        self.sizes.registers.get(usize::try_from(register.0).ok()?).copied()
    }
}

/// Makes the arguments of all steps of a stage whose results lie in the arena, for a layout.
pub(crate) fn bind_steps(
    graph: &Graph,
    loaded: &LoadedGraph,
    stage: usize,
    frame: &mut Frame,
    queues: &Queues,
) -> Result<(), RuntimeError> {
    let mut all = std::mem::take(&mut frame.bound);
    all.resize_with(graph.steps.len(), Bound::default);
    let steps = graph.steps.iter().zip(&loaded.actions).zip(&mut all).enumerate();
    for (position, ((step, action), bound)) in steps.filter(|(at, _)| loaded.stages.get(*at) == Some(&stage)) {
        if let (LoadedAction::Launch { kernels, place, changing, .. }, Action::Launch(launch)) = (action, &step.action)
        {
            let chosen = frame.chosen.get(position).copied().unwrap_or(usize::MAX);
            bound.kernel = kernels.get(chosen).or(kernels.last()).copied();
            let variant = launch.special.get(chosen).unwrap_or(&launch.general);
            let binder = Binder { graph, step, position, place: *place, queues };
            let made = binder.bind(variant, changing, frame, &mut bound.arguments);
            made.map_err(|source| RuntimeError::of_step(step.origins.join(", "), source))?;
        }
    }
    frame.bound = all;
    Ok(())
}

/// Runs all steps of a graph.
pub(crate) fn run_steps(
    graph: &Graph,
    loaded: &LoadedGraph,
    frame: &mut Frame,
    work: &mut Work<'_>,
    mut watch: Option<&mut Watch<'_>>,
) -> Result<(), RuntimeError> {
    let mut segments = loaded.segments.iter().peekable();
    let mut steps = graph.steps.iter().zip(&loaded.actions).zip(&loaded.releases).enumerate();
    while let Some((position, ((step, action), releases))) = steps.next() {
        if let Some(segment) = segments.next_if(|segment| segment.start == position)
            // An observer gets a call for each step, so segments do not run at once.
            && watch.is_none()
            && work.captures.as_ref().is_some_and(|captures| captures.are_possible())
        {
            run_segment(graph, loaded, segment, frame, work)?;
            // The segment has run the steps behind the first one too.
            steps.nth(segment.len() - 2);
            continue;
        }
        if let Some(watch) = &mut watch {
            watch.before(position);
        }
        let run = Run { graph, step, position };
        let result = match (action, &step.action) {
            (LoadedAction::Launch { place, changing, .. }, _) => run.launch(*place, changing, frame, work),
            (LoadedAction::Dynamic { kernel, place, size_operands }, Action::Launch(Launch { region, .. })) => {
                run.launch_dynamic((*kernel, *place), (region, size_operands), frame, work)
            }
            (LoadedAction::Copy, Action::Copy) => run.copy(frame, work),
            (LoadedAction::Values(kernel), Action::Launch(Launch { general, .. })) => match &**kernel {
                Loaded::Values(kernel) => run.call(&general.recipe.tactic, &**kernel, frame, work),
                Loaded::Kernel(_) => Err(KernelError::Recipe("the step was loaded as something else".to_owned())),
            },
            (LoadedAction::Control(bodies), Action::Control { region, graphs }) => {
                run.control(region, (graphs, bodies), frame, work, watch.as_deref_mut())
            }
            (LoadedAction::Alias, Action::Alias { .. }) => Ok(()),
            (LoadedAction::Sync(stage), Action::Sync) => run.sync(*stage, loaded, frame, work),
            _ => Err(KernelError::Recipe("the step was loaded as something else".to_owned())),
        };
        result.map_err(|source| RuntimeError::of_step(step.origins.join(", "), source))?;
        if let Some(watch) = &mut watch {
            let Work { engine, queues, .. } = work;
            watch.after(position, &mut StepValues { engine, frame, queues })?;
        }
        frame.release(releases, work.queues);
    }
    Ok(())
}

/// Runs the steps of a segment at once.
fn run_segment(
    graph: &Graph,
    loaded: &LoadedGraph,
    segment: &Range<usize>,
    frame: &mut Frame,
    work: &mut Work<'_>,
) -> Result<(), RuntimeError> {
    let Work { sizes, queues, captures: Some(captures), .. } = work else { return Ok(()) };
    let steps = || segment.clone().filter_map(|at| Some((at, graph.steps.get(at)?, loaded.actions.get(at)?)));
    let of_step = |at: usize, source| {
        let origins = graph.steps.get(at).map(|step| step.origins.join(", "));
        RuntimeError::of_step(origins.unwrap_or_default(), source)
    };
    captures.begin();
    for (position, step, action) in steps() {
        let LoadedAction::Launch { changing, place, .. } = action else { continue };
        let Some(slot) = frame.bound.get_mut(position) else { continue };
        let mut bound = std::mem::take(slot);
        let binder = Binder { graph, step, position, place: *place, queues };
        let made = binder.rebind(changing, frame, &mut bound.arguments);
        captures.add(&bound.arguments, &changing.inputs, &changing.outputs);
        if let Some(slot) = frame.bound.get_mut(position) {
            *slot = bound;
        }
        made.map_err(|source| of_step(position, source))?;
    }
    let (mut at, seed) = (segment.start, seed(frame));
    let mut launch = |queue: &mut dyn Queue| {
        for (position, _, _) in steps() {
            let Some(Bound { kernel: Some(kernel), arguments }) = frame.bound.get(position) else { continue };
            at = position;
            queue.launch(*kernel, arguments, seed)?;
        }
        Ok(())
    };
    let done = captures.run(segment.start, &sizes.registers, queues.at(Place::MAIN), &mut launch);
    done.map_err(|source| of_step(at, source))?;
    for releases in segment.clone().filter_map(|at| loaded.releases.get(at)) {
        frame.release(releases, queues);
    }
    Ok(())
}

/// A running step.
pub(crate) struct Run<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) step: &'a Step,
    pub(crate) position: usize,
}

pub(crate) fn data(error: impl std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

/// Seed of the run, and the stream of this iteration of the outer loops.
pub(crate) fn seed(frame: &Frame) -> Seed {
    (frame.seed, frame.stream)
}

impl Run<'_> {
    fn storage(&self, id: PlanValueId) -> Option<&Storage> {
        self.graph.values.get(id.index()).map(|v| &v.storage)
    }

    /// The device of a value.
    pub(crate) fn place_of(&self, id: PlanValueId) -> Place {
        self.graph.values.get(id.index()).map_or(Place::MAIN, |value| value.place)
    }

    /// Launches a step whose results lie in the arena or in memory of the caller, without inference or allocation.
    fn launch(
        &self,
        place: Place,
        changing: &Changing,
        frame: &mut Frame,
        work: &mut Work<'_>,
    ) -> Result<(), KernelError> {
        let Some(Bound { kernel: Some(kernel), arguments }) = frame.bound.get_mut(self.position) else {
            return Err(KernelError::Recipe("a step has no arguments".to_owned()));
        };
        let kernel = *kernel;
        if *changing == Changing::default() {
            return work.queues.at(place).launch(kernel, arguments, (frame.seed, frame.stream));
        }
        let mut arguments = std::mem::take(arguments);
        let (graph, step, position) = (self.graph, self.step, self.position);
        let made = Binder { graph, step, position, place, queues: work.queues }.rebind(changing, frame, &mut arguments);
        let launched = made.and_then(|()| work.queues.at(place).launch(kernel, &arguments, seed(frame)));
        if let Some(slot) = frame.bound.get_mut(self.position) {
            slot.arguments = arguments;
        }
        launched
    }

    /// Copies a value to another device.
    fn copy(&self, frame: &mut Frame, work: &mut Work<'_>) -> Result<(), KernelError> {
        let missing = || KernelError::Recipe("a copy of nothing".to_owned());
        let ([Some(from)], [to]) = (self.step.inputs.as_slice(), self.step.outputs.as_slice()) else {
            return Err(missing());
        };
        let place = |id: PlanValueId| self.graph.values.get(id.index()).map(|value| value.place).ok_or_else(missing);
        let (source, target) = (place(*from)?, place(*to)?);
        let argument = frame.argument(self.graph, work.queues, *from).ok_or_else(missing)?;
        if self.storage(*to) != Some(&Storage::Dynamic) {
            let memory = frame.argument(self.graph, work.queues, *to).ok_or_else(missing)?.memory;
            return work.queues.copy((source, &argument), (target, memory));
        }
        let bytes = bytes_of(argument.data_type, &argument.sizes).ok_or_else(missing)?;
        let block = work.queues.at(target).allocate(bytes)?;
        let memory = MemoryRef { block, offset: 0, bytes };
        let copied = work.queues.copy((source, &argument), (target, memory));
        let argument = Argument { memory, rows: None, ..argument };
        self.keep(*to, Outside::Memory { argument, place: target, is_owned: true }, frame, work)?;
        copied
    }

    /// Launches a step with dynamic results: infers their sizes from the actual operands; the kernel states the remaining ones.
    fn launch_dynamic(
        &self,
        (kernel, place): (KernelId, Place),
        problem: (&Region, &[usize]),
        frame: &mut Frame,
        work: &mut Work<'_>,
    ) -> Result<(), KernelError> {
        frame.inferences += 1;
        let types = self.result_types(problem, frame, work)?;
        let mut arguments = Arguments::default();
        for id in &self.step.inputs {
            arguments.inputs.push(match id {
                None => Input::Absent,
                Some(id) => {
                    let argument = frame.argument(self.graph, work.queues, *id);
                    let none = || KernelError::Recipe(format!("{id} is no tensor that a kernel can see"));
                    Input::Memory(argument.ok_or_else(none)?)
                }
            });
        }
        let limit = work.engine.max_memory;
        for ty in &types {
            let tensor = ty.as_tensor().ok_or_else(|| KernelError::Recipe(format!("a result of type {ty}")))?;
            let data_type = tensor.data_type;
            let Some(sizes) = tensor.shape.sizes() else {
                arguments.outputs.push(Output::Dynamic { data_type, limit });
                continue;
            };
            let bytes = bytes_of(data_type, &sizes).filter(|bytes| *bytes <= limit);
            let too_large = || KernelError::Memory(format!("a result of type {data_type} and sizes {sizes:?}"));
            let bytes = bytes.ok_or_else(too_large)?;
            let block = work.queues.at(place).allocate(bytes).map_err(|error| match error {
                KernelError::Memory(_) => too_large(),
                other => other,
            })?;
            let memory = MemoryRef { block, offset: 0, bytes };
            arguments.outputs.push(Output::Memory(Argument { memory, data_type, sizes, rows: None }));
        }
        let launched = work.queues.at(place).launch(kernel, &arguments, seed(frame));
        for (position, (id, output)) in self.step.outputs.iter().zip(arguments.outputs).enumerate() {
            let argument = match output {
                Output::Memory(argument) => argument,
                Output::Dynamic { .. } if launched.is_err() => continue,
                Output::Dynamic { .. } => work.queues.at(place).dynamic_result(position)?,
            };
            self.keep(*id, Outside::Memory { argument, place, is_owned: true }, frame, work)?;
        }
        launched
    }

    /// Calls a kernel on whole values.
    fn call(
        &self,
        tactic: &str,
        kernel: &dyn ValueKernel,
        frame: &mut Frame,
        work: &mut Work<'_>,
    ) -> Result<(), KernelError> {
        let mut inputs = Vec::with_capacity(self.step.inputs.len());
        for id in &self.step.inputs {
            inputs.push(match id {
                None => None,
                Some(id) => Some(self.value(*id, frame, work)?),
            });
        }
        let outputs = caught(tactic, || kernel.run(&inputs))?;
        if outputs.len() < self.step.outputs.len() {
            return Err(KernelError::Recipe(format!("{} results of {}", outputs.len(), self.step.outputs.len())));
        }
        for (id, value) in self.step.outputs.iter().zip(outputs) {
            let place = self.place_of(*id);
            let value = Outside::new(value, place, work.queues)?;
            self.keep(*id, value, frame, work)?;
        }
        Ok(())
    }

    /// A copy of a value, on the host.
    pub(crate) fn value(&self, id: PlanValueId, frame: &Frame, work: &mut Work<'_>) -> Result<Value, KernelError> {
        work.value(self.graph, frame, id)
    }

    pub(crate) fn keep(
        &self,
        id: PlanValueId,
        value: Outside,
        frame: &mut Frame,
        work: &mut Work<'_>,
    ) -> Result<(), KernelError> {
        if self.storage(id) != Some(&Storage::Dynamic) {
            value.release(work.queues);
            return Err(KernelError::Recipe(format!("{id} is made at run time and has a fixed place")));
        }
        frame.keep(id, value, work.queues);
        Ok(())
    }

    /// Result types of a region for the actual operands. The contents of operands that decide sizes are known.
    fn result_types(
        &self,
        (region, size_operands): (&Region, &[usize]),
        frame: &Frame,
        work: &mut Work<'_>,
    ) -> Result<Vec<ValueType>, KernelError> {
        let given = self.step.inputs.iter().enumerate().filter_map(|(operand, id)| Some((operand, (*id)?)));
        let mut types = Vec::new();
        for ((operand, id), input) in given.zip(region.body().inputs()) {
            types.push(self.operand_type((operand, id), (region, *input), size_operands, frame, work)?);
        }
        let mut cx = InferContext::default();
        let results = region.infer(&types, &mut cx).map_err(data)?;
        match cx.guards.first() {
            Some(guard) => Err(KernelError::Data(format!("{}: {} against {}", guard.reason, guard.left, guard.right))),
            None => Ok(results),
        }
    }

    fn operand_type(
        &self,
        (operand, id): (usize, PlanValueId),
        (region, input): (&Region, ValueId),
        size_operands: &[usize],
        frame: &Frame,
        work: &mut Work<'_>,
    ) -> Result<ValueType, KernelError> {
        let declared = region.body().ty(input);
        // A weight may be packed, so its type is the one that the region states.
        if let Some(Storage::Weight(_)) = self.storage(id) {
            return Ok(declared.clone());
        }
        // The kernel was built for the declared type, so the actual type must meet it.
        let actual = self.actual_type(id, size_operands.contains(&operand), frame, work)?;
        match admits(declared, &actual) {
            true => Ok(actual),
            false => Err(KernelError::Data(format!("{id} is {actual}, where {declared} is declared"))),
        }
    }

    fn actual_type(
        &self,
        id: PlanValueId,
        shows_contents: bool,
        frame: &Frame,
        work: &mut Work<'_>,
    ) -> Result<ValueType, KernelError> {
        let Some(argument) = frame.argument(self.graph, work.queues, id) else {
            return Ok(self.value(id, frame, work)?.value_type());
        };
        let count: usize = argument.sizes.iter().product();
        if shows_contents && count <= MAX_KNOWN {
            let place = self.place_of(id);
            let tensor = look(&argument, work.queues.at(place), tensor_of).map_err(RuntimeError::into_kernel_error)?;
            return Ok(TensorType::of(&tensor).into());
        }
        Ok(TensorType::new(argument.data_type, argument.sizes.as_slice().into()).into())
    }
}

impl Work<'_> {
    /// A copy of a value, on the host. Weights come from the plan.
    pub(crate) fn value(&mut self, graph: &Graph, frame: &Frame, id: PlanValueId) -> Result<Value, KernelError> {
        if let Some(Storage::Weight(weight)) = graph.values.get(id.index()).map(|value| &value.storage)
            && let Some(weight) = self.engine.plan.weights.get(weight.index())
        {
            return Ok(Value::Tensor(weight.tensor().clone()));
        }
        frame.value(graph, self.queues, id).map_err(RuntimeError::into_kernel_error)
    }
}
