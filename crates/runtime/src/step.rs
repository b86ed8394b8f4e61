//! Running steps: operands are gathered from arena, weights and held values, the kernel is launched.

use sinter_backend::panic::caught;
use sinter_backend::{DynamicOutput, End, Kernel, KernelError, Launch, Loaded, Operand, Output, Region, ValueKernel};
use sinter_base::arena::recycled;
use sinter_base::{Rows, Sizes, TensorType, Value, ValueType, View, ViewMut};
use sinter_ops::control::nested::admits;
use sinter_ops::shown::MAX_SHOWN;
use sinter_ops::{InferContext, ValueId};
use sinter_plan::{Action, Graph, Home, PlanValueId, Step};
use smallvec::SmallVec;

use crate::engine::Shared;
use crate::error::RuntimeError;
use crate::frame::{Frame, Lists};
use crate::graph::{LoadedAction, LoadedGraph};
use crate::memory::Held;
use crate::profile::{StepValues, Watch};

/// What stands for a step where it panics.
fn tactic_of(step: &Step) -> &str {
    match &step.action {
        Action::Kernel { recipe, .. } => &recipe.tactic,
        Action::Placed { .. } | Action::Control { .. } => "control flow",
    }
}

/// Runs all steps of a graph.
pub(crate) fn run_steps(
    graph: &Graph,
    loaded: &LoadedGraph,
    frame: &mut Frame,
    registers: &[i64],
    engine: &Shared,
    mut watch: Option<&mut Watch<'_>>,
) -> Result<(), RuntimeError> {
    let steps = graph.steps.iter().zip(&loaded.actions).zip(&loaded.releases);
    for (position, ((step, action), releases)) in steps.enumerate() {
        if let Some(watch) = &mut watch {
            watch.before(position);
        }
        let run = Run { graph, step, registers, engine, position: position_of(position) };
        let inner = watch.as_deref_mut();
        let result = caught(tactic_of(step), || match (action, &step.action) {
            (LoadedAction::Kernel { kernel, size_operands }, Action::Kernel { region, in_place, .. }) => {
                match &**kernel {
                    Loaded::Values(kernel) => run.call(&**kernel, frame),
                    Loaded::Views(kernel) if step.outputs.iter().all(|o| run.is_in_arena(*o)) => {
                        run.launch_static(&**kernel, in_place, frame)
                    }
                    Loaded::Views(kernel) => run.launch_dynamic(&**kernel, (region, size_operands), frame),
                }
            }
            (LoadedAction::Control(bodies), Action::Control { region, graphs }) => {
                run.control(region, (graphs, bodies), frame, inner)
            }
            (LoadedAction::Placed, Action::Placed { .. }) => Ok(()),
            _ => Err(KernelError::Recipe("the step was loaded as something else".to_owned())),
        });
        result.map_err(|source| RuntimeError::of_step(step.origins.join(", "), source))?;
        if let Some(watch) = &mut watch {
            watch.after(position, &StepValues { engine, frame })?;
        }
        frame.release(releases);
    }
    Ok(())
}

/// A kernel must never meet a stepped view that it was not written for, whatever the plan says.
fn admit(kernel: &dyn Kernel, end: End, rows: Option<Rows>, sizes: &[usize]) -> Result<(), KernelError> {
    match rows {
        Some(rows) if !kernel.stride_support(end).admits(rows, sizes) => {
            Err(KernelError::Recipe(format!("{end:?} of the kernel may not lie in rows of {} elements", rows.inner)))
        }
        _ => Ok(()),
    }
}

/// One step being run.
pub(crate) struct Run<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) step: &'a Step,
    pub(crate) registers: &'a [i64],
    pub(crate) engine: &'a Shared,
    pub(crate) position: u64,
}

fn position_of(position: usize) -> u64 {
    u64::try_from(position).unwrap_or(u64::MAX)
}

pub(crate) fn data(error: impl std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

impl Run<'_> {
    fn home(&self, id: PlanValueId) -> Option<&Home> {
        self.graph.values.get(id.index()).map(|v| &v.home)
    }

    fn is_in_arena(&self, id: PlanValueId) -> bool {
        self.graph.is_in_arena(id)
    }

    /// Seed of the run, and what tells this iteration of the loops around from all others.
    pub(crate) fn seed(&self, frame: &Frame) -> (u64, u64) {
        (frame.seed, frame.stream)
    }

    /// All results lie in the arena: nothing is inferred or allocated.
    fn launch_static(
        &self,
        kernel: &dyn Kernel,
        in_place: &[(usize, usize)],
        frame: &mut Frame,
    ) -> Result<(), KernelError> {
        let seed = self.seed(frame);
        let Frame { sizes, ranges, rows, arena, held, workspaces, rooms, lists, .. } = frame;
        let missing = |id: PlanValueId| KernelError::Recipe(format!("{id} has no place"));
        let range_of = |id: PlanValueId| ranges.get(id.index()).cloned().ok_or_else(|| missing(id));
        // What lies with the caller is out of the frame while its kernel writes it.
        let mut outside = std::mem::take(&mut lists.outside);
        outside.clear();
        outside.extend(self.step.outputs.iter().map(|id| held.get_mut(id.index()).and_then(Option::take)));
        let held_view = |id: PlanValueId| held.get(id.index()).and_then(Option::as_ref).and_then(Held::view);
        let is_outside = |id: PlanValueId| held.get(id.index()).is_some_and(Option::is_some);
        let shared = |input: usize, id: PlanValueId| {
            in_place.iter().find(|(i, o)| {
                *i == input
                    && !is_outside(id)
                    && outside.get(*o).is_some_and(Option::is_none)
                    && self.step.outputs.get(*o).is_some_and(|out| ranges.get(out.index()) == ranges.get(id.index()))
            })
        };
        let Lists { reads, writes, .. } = lists;
        writes.clear();
        for (id, outside) in self.step.outputs.iter().zip(&outside) {
            if outside.is_none() {
                writes.push(range_of(*id)?);
            }
        }
        // Behind the results comes the scratch memory.
        let workspace = usize::try_from(self.position).ok().and_then(|position| workspaces.get(position));
        writes.extend(workspace.filter(|range| !range.is_empty()).cloned());
        reads.clear();
        for (position, id) in self.step.inputs.iter().enumerate() {
            if let Some(id) = id
                && self.is_in_arena(*id)
                && !is_outside(*id)
                && shared(position, *id).is_none()
            {
                reads.push(range_of(*id)?);
            }
        }
        let parts = arena.parts(reads, writes, std::mem::take(&mut lists.parts));
        let mut parts = parts.map_err(|e| KernelError::Recipe(e.to_string()))?;
        let mut from_arena = parts.reads.drain(..);
        let mut inputs: Vec<Operand<'_>> = recycled(std::mem::take(&mut lists.inputs));
        for (position, id) in self.step.inputs.iter().enumerate() {
            let Some(id) = *id else {
                inputs.push(Operand::Absent);
                continue;
            };
            let value = self.graph.values.get(id.index()).ok_or_else(|| missing(id))?;
            let view = match &value.home {
                Home::Weight(weight) => self.engine.weights.get(weight.index()).and_then(|weight| weight.held.view()),
                Home::Input | Home::Dynamic => held_view(id),
                Home::Arena(_) if is_outside(id) => held_view(id),
                Home::Arena(_) => {
                    if let Some((_, output)) = shared(position, id) {
                        inputs.push(Operand::InPlace(*output));
                        continue;
                    }
                    let (sizes, bytes) = (sizes.get(id.index()), from_arena.next());
                    sizes.zip(bytes).and_then(|(s, b)| View::new(value.ty.data_type(), s, b).ok())
                }
                Home::Part(part) => {
                    let bytes = if self.is_in_arena(id) {
                        from_arena.next()
                    } else {
                        held_view(part.whole)
                            .zip(ranges.get(id.index()))
                            .and_then(|(view, range)| view.bytes().get(range.clone()))
                    };
                    let place = sizes.get(id.index()).zip(rows.get(id.index())).zip(bytes);
                    place.and_then(|((s, rows), b)| View::stepped(value.ty.data_type(), s, b, *rows).ok())
                }
            };
            let view = view.ok_or_else(|| missing(id))?;
            admit(kernel, End::Operand(position), view.rows(), view.sizes())?;
            inputs.push(Operand::View(view));
        }
        drop(from_arena);
        let mut outputs: Vec<Output<'_>> = recycled(std::mem::take(&mut lists.outputs));
        let mut to_arena = parts.writes.drain(..);
        for (position, (id, room)) in self.step.outputs.iter().zip(&mut outside).enumerate() {
            let value = self.graph.values.get(id.index()).ok_or_else(|| missing(*id))?;
            let (data_type, sizes) = (value.ty.data_type(), sizes.get(id.index()).ok_or_else(|| missing(*id))?);
            let mut bytes = || to_arena.next().ok_or_else(|| missing(*id));
            let view = match (room, &value.home, rows.get(id.index())) {
                (Some(Held::Made(room)), ..) => room.allocate(sizes)?,
                (_, Home::Part(_), Some(rows)) => ViewMut::stepped(data_type, sizes, bytes()?, *rows).map_err(data)?,
                _ => ViewMut::new(data_type, sizes, bytes()?).map_err(data)?,
            };
            admit(kernel, End::Result(position), view.rows(), view.sizes())?;
            outputs.push(Output::View(view));
        }
        let workspace = to_arena.next().unwrap_or_default();
        drop(to_arena);
        let launched = kernel.launch(&mut Launch {
            workers: &*self.engine.workers,
            inputs: &inputs,
            outputs: &mut outputs,
            workspace,
            rooms,
            seed,
        });
        lists.inputs = recycled(inputs);
        lists.outputs = recycled(outputs);
        lists.parts = parts.recycled();
        for (id, room) in self.step.outputs.iter().zip(outside.drain(..)) {
            if let (Some(slot), Some(room)) = (held.get_mut(id.index()), room) {
                *slot = Some(room);
            }
        }
        lists.outside = outside;
        launched
    }

    /// Sizes are inferred from the actual operands; what stays open is told by the kernel.
    fn launch_dynamic(
        &self,
        kernel: &dyn Kernel,
        problem: (&Region, &[usize]),
        frame: &mut Frame,
    ) -> Result<(), KernelError> {
        frame.inferences += 1;
        let types = self.result_types(problem, frame)?;
        let mut rooms = Vec::with_capacity(types.len());
        let mut known: Vec<Option<Sizes>> = Vec::with_capacity(types.len());
        for ty in &types {
            let tensor = ty.as_tensor().ok_or_else(|| KernelError::Recipe(format!("a result of type {ty}")))?;
            let mut room = DynamicOutput::with_limit(tensor.data_type, self.engine.max_memory);
            let sizes = tensor.shape.sizes();
            if let Some(sizes) = &sizes {
                room.allocate(sizes)?;
            }
            known.push(sizes);
            rooms.push(room);
        }
        {
            let mut inputs: SmallVec<[Operand<'_>; 8]> = SmallVec::new();
            for id in &self.step.inputs {
                let Some(id) = id else {
                    inputs.push(Operand::Absent);
                    continue;
                };
                let view = frame.view(self.graph, &self.engine.weights, *id);
                let view =
                    view.ok_or_else(|| KernelError::Recipe(format!("{id} is no tensor that a kernel can see")))?;
                admit(kernel, End::Operand(inputs.len()), view.rows(), view.sizes())?;
                inputs.push(Operand::View(view));
            }
            let mut outputs: SmallVec<[Output<'_>; 4]> = SmallVec::new();
            for (room, sizes) in rooms.iter_mut().zip(&known) {
                outputs.push(match sizes {
                    Some(sizes) => Output::View(room.allocate(sizes)?),
                    None => Output::Dynamic(room),
                });
            }
            let launched = kernel.launch(&mut Launch {
                workers: &*self.engine.workers,
                inputs: &inputs,
                outputs: &mut outputs,
                workspace: &mut [],
                rooms: &frame.rooms,
                seed: self.seed(frame),
            });
            drop(outputs);
            drop(inputs);
            launched?;
        }
        for (id, room) in self.step.outputs.iter().zip(rooms) {
            self.keep(*id, Held::Made(room), frame)?;
        }
        Ok(())
    }

    /// A kernel on whole values.
    fn call(&self, kernel: &dyn ValueKernel, frame: &mut Frame) -> Result<(), KernelError> {
        let inputs = self
            .step
            .inputs
            .iter()
            .map(|id| id.map(|id| frame.value(self.graph, &self.engine.weights, id)).transpose())
            .collect::<Result<Vec<_>, _>>()
            .map_err(data)?;
        let outputs = kernel.run(&inputs)?;
        if outputs.len() < self.step.outputs.len() {
            return Err(KernelError::Recipe(format!("{} results of {}", outputs.len(), self.step.outputs.len())));
        }
        for (id, value) in self.step.outputs.iter().zip(outputs) {
            self.keep(*id, Held::new(value), frame)?;
        }
        Ok(())
    }

    pub(crate) fn keep(&self, id: PlanValueId, value: Held, frame: &mut Frame) -> Result<(), KernelError> {
        match (self.home(id), frame.held.get_mut(id.index())) {
            (Some(Home::Dynamic), Some(slot)) => {
                *slot = Some(value);
                Ok(())
            }
            _ => Err(KernelError::Recipe(format!("{id} is made at run time and has a fixed place"))),
        }
    }

    /// Result types of a region for the actual operands; of those operands whose contents decide sizes, these are known.
    fn result_types(
        &self,
        (region, size_operands): (&Region, &[usize]),
        frame: &Frame,
    ) -> Result<Vec<ValueType>, KernelError> {
        let given = self.step.inputs.iter().enumerate().filter_map(|(operand, id)| Some((operand, (*id)?)));
        let type_of = |((operand, id), input): ((usize, PlanValueId), &ValueId)| {
            let declared = region.body().ty(*input);
            // A weight may be packed: the region knows what it stands for.
            if let Some(Home::Weight(_)) = self.home(id) {
                return Ok(declared.clone());
            }
            // The kernel was made for what the region says.
            let actual = self.actual_type(id, size_operands.contains(&operand), frame)?;
            match admits(declared, &actual) {
                true => Ok(actual),
                false => Err(KernelError::Data(format!("{id} is {actual}, where {declared} is declared"))),
            }
        };
        let types = given.zip(region.body().inputs()).map(type_of).collect::<Result<Vec<_>, _>>()?;
        let mut cx = InferContext::default();
        let results = region.infer(&types, &mut cx).map_err(data)?;
        match cx.guards.first() {
            Some(guard) => Err(KernelError::Data(format!("{}: {} against {}", guard.reason, guard.left, guard.right))),
            None => Ok(results),
        }
    }

    fn actual_type(&self, id: PlanValueId, shows_contents: bool, frame: &Frame) -> Result<ValueType, KernelError> {
        if let Some(view) = frame.view(self.graph, &self.engine.weights, id) {
            if shows_contents && view.count() <= MAX_SHOWN {
                return Ok(TensorType::of(&view.to_tensor().map_err(data)?).into());
            }
            return Ok(TensorType::new(view.data_type(), view.sizes().into()).into());
        }
        let value: Value = frame.value(self.graph, &self.engine.weights, id).map_err(data)?;
        Ok(value.value_type())
    }
}
