//! Control flow: each body runs in a frame of its own, as often as its operator says.
//!
//! Every body keeps its frame between iterations and between runs. The step hands captured values in by reference, once, and
//! moves carried values from one iteration to the next without a copy. `stack.rs` joins per-iteration results.

use std::collections::HashSet;
use std::ops::Range;

use sinter_backend::{Argument, KernelError, Region};
use sinter_base::{DataType, MemoryRef, Sizes, Tensor, TensorType, Value, ValueType};
use sinter_ops::control::names::{Source, types_outside};
use sinter_ops::control::scan::Walk;
use sinter_ops::control::{Loop, Scan};
use sinter_ops::known::{MAX_KNOWN, known_type};
use sinter_ops::{InferContext, Op, Operands};
use sinter_plan::{Graph, Place, PlanValueId, Storage};

use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::graph::LoadedGraph;
use crate::outside::{Outside, look};
use crate::profile::Watch;
use crate::queues::Queues;
use crate::stack::{Stack, Walked};
use crate::step::{Run, Work, bind_steps, run_steps, seed};

/// A body in its frame, ready to run.
struct Running<'a, 'o> {
    run: &'a Run<'a>,
    graph: &'a Graph,
    loaded: &'a LoadedGraph,
    frame: &'a mut Frame,
    /// Stream of random numbers of the whole step.
    stream: u64,
    /// Index of the body within the step.
    which: usize,
    watch: Option<&'a mut Watch<'o>>,
}

/// Bodies as the plan describes them, and as loaded.
type Bodies<'a> = (&'a [Graph], &'a [LoadedGraph]);

fn damaged(what: &str) -> KernelError {
    KernelError::Recipe(format!("control flow: {what}"))
}

/// Is the value a tensor with the one element `true`?
fn condition(value: &Outside, queues: &mut Queues) -> Result<bool, KernelError> {
    let not_one = || KernelError::Data("a condition must be one bool".to_owned());
    let Outside::Memory { argument, place, .. } = value else { return Err(not_one()) };
    if argument.data_type != DataType::Bool {
        return Err(not_one());
    }
    let truth = look(argument, queues.at(*place), |view| Ok(<[u8; 1]>::try_from(view.bytes()).ok()));
    truth.map_err(RuntimeError::into_kernel_error)?.map(|[truth]| truth != 0).ok_or_else(not_one)
}

/// Is it a list of few integers?
fn may_be_sizes(argument: &Argument) -> bool {
    argument.data_type.is_integer() && argument.sizes.iter().product::<usize>() <= MAX_KNOWN
}

/// A tensor of one element, in memory of its own.
fn scalar(data_type: DataType, bytes: &[u8], place: Place, work: &mut Work<'_>) -> Result<Outside, KernelError> {
    let queue = work.queues.at(place);
    let memory = MemoryRef { block: queue.allocate(bytes.len())?, offset: 0, bytes: bytes.len() };
    queue.write(memory, bytes)?;
    let argument = Argument { memory, data_type, sizes: Sizes::new(), rows: None };
    Ok(Outside::Memory { argument, place, is_owned: true })
}

/// A copy of an argument, in memory of its own.
fn duplicate(argument: Argument, place: Place, work: &mut Work<'_>) -> Result<Outside, KernelError> {
    let queue = work.queues.at(place);
    let bytes = argument.memory.bytes;
    let memory = MemoryRef { block: queue.allocate(bytes)?, offset: 0, bytes };
    queue.copy(argument.memory, memory)?;
    Ok(Outside::Memory { argument: Argument { memory, ..argument }, place, is_owned: true })
}

impl Running<'_, '_> {
    /// Hands a value in as an input.
    fn feed(&mut self, input: usize, value: Outside, work: &mut Work<'_>) -> Result<(), KernelError> {
        let id = *self.graph.inputs.get(input).ok_or_else(|| damaged("a body has too few inputs"))?;
        let (declared, sizes) = (self.graph.values.get(id.index()), self.frame.sizes.get(id.index()));
        let given = value.argument().map(|argument| (argument.data_type, &argument.sizes));
        // The layout of the body assumes these sizes, and a carried value may have grown.
        if let Some((declared, sizes)) = declared.zip(sizes).filter(|(declared, _)| declared.sizes.is_some())
            && given != Some((declared.ty.data_type(), sizes))
        {
            let reason = format!("a value of type {} where {}{sizes:?} is declared", value.type_text(), declared.ty);
            value.release(work.queues);
            return Err(KernelError::Data(reason));
        }
        self.frame.keep(id, value, work.queues);
        Ok(())
    }

    /// Hands in a range of the step's operands, as inputs from `first` on. A weight that a body captures is a weight of the
    /// body's own graph, and the step has no operand for it.
    fn capture(
        &mut self,
        first: usize,
        operands: Range<usize>,
        outer: &Frame,
        work: &mut Work<'_>,
    ) -> Result<(), KernelError> {
        if self.graph.inputs.len() != first + operands.len() {
            return Err(damaged("a body takes another number of values"));
        }
        for (input, operand) in (first..).zip(operands) {
            if let Some(value) = self.run.referred(operand, outer, work)? {
                self.feed(input, value, work)?;
            }
        }
        Ok(())
    }

    /// Runs all steps once; `number` is the index of the iteration. The first `carried` results are in memory of their own; the
    /// next iteration may overwrite the others.
    fn once(
        &mut self,
        number: Option<usize>,
        carried: usize,
        work: &mut Work<'_>,
    ) -> Result<Vec<Outside>, KernelError> {
        self.frame.stream = match number {
            None => self.stream,
            Some(number) => {
                let number = u64::try_from(number).unwrap_or(0).wrapping_add(1);
                self.stream.wrapping_mul(0x100_0000_01b3) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            }
        };
        if let Some(watch) = &mut self.watch {
            watch.enter(self.run.position, self.which);
        }
        let watch = self.watch.as_deref_mut();
        let done = run_steps(self.graph, self.loaded, self.frame, work, watch);
        if let Some(watch) = &mut self.watch {
            watch.leave();
        }
        done.map_err(RuntimeError::of_body)?;
        let mut results = Vec::with_capacity(self.graph.outputs.len());
        for (position, id) in self.graph.outputs.iter().enumerate() {
            let is_made = self.graph.values.get(id.index()).is_some_and(|v| v.storage == Storage::Dynamic);
            let later = self.graph.outputs.get(position + 1..).unwrap_or_default();
            let moved = match self.frame.outside.get_mut(id.index()) {
                // The last use of a value that the body made moves it out.
                Some(slot) if is_made && !later.contains(id) => slot.take(),
                _ => None,
            };
            results.push(match moved {
                Some(value) => value,
                None if position < carried => self.copied(*id, work)?,
                None => self.referred(*id, work)?,
            });
        }
        Ok(results)
    }

    /// A value of the body in memory of its own.
    fn copied(&self, id: PlanValueId, work: &mut Work<'_>) -> Result<Outside, KernelError> {
        let place = self.graph.values.get(id.index()).map_or(Place::MAIN, |value| value.place);
        match self.frame.argument(self.graph, work.queues, id) {
            Some(argument) if argument.rows.is_none() => duplicate(argument, place, work),
            _ => {
                let value = work.value(self.graph, self.frame, id)?;
                Outside::new(value, place, work.queues)
            }
        }
    }

    /// A value of the body, by reference.
    fn referred(&self, id: PlanValueId, work: &mut Work<'_>) -> Result<Outside, KernelError> {
        let place = self.graph.values.get(id.index()).map_or(Place::MAIN, |value| value.place);
        match self.frame.argument(self.graph, work.queues, id) {
            Some(argument) => Ok(Outside::Memory { argument, place, is_owned: false }),
            None => work.value(self.graph, self.frame, id).map(Outside::Value),
        }
    }

    /// Does the body always return the condition `true`, or the condition that it got?
    fn always_goes_on(&self) -> bool {
        let Some(condition) = self.graph.outputs.first() else { return false };
        let ty = self.graph.values.get(condition.index()).and_then(|v| v.ty.as_tensor());
        self.graph.inputs.get(1) == Some(condition) || ty.and_then(|t| t.constant_ints()).as_deref() == Some(&[1])
    }
}

impl Run<'_> {
    /// Runs a step of control flow.
    ///
    /// # Errors
    /// When a body fails, or operands do not fit.
    pub(crate) fn control(
        &self,
        region: &Region,
        bodies: Bodies<'_>,
        frame: &mut Frame,
        work: &mut Work<'_>,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<(), KernelError> {
        let key = u64::try_from(self.position).unwrap_or(u64::MAX);
        let mut frames = frame.bodies.remove(&key).unwrap_or_default();
        frames.resize_with(bodies.0.len(), Frame::default);
        let results = match region.only().map(|node| &node.op) {
            Some(Op::If(_)) if bodies.0.len() == 2 => self.branch(bodies, &mut frames, frame, work, watch),
            Some(Op::Loop(op)) if bodies.0.len() == 1 => {
                let body = self.enter(0, bodies, &mut frames, frame, work, watch);
                body.and_then(|body| self.repeat(op, body, frame, work))
            }
            Some(Op::Scan(op)) if bodies.0.len() == 1 => {
                let body = self.enter(0, bodies, &mut frames, frame, work, watch);
                body.and_then(|body| self.walk(op, body, frame, work))
            }
            _ => Err(damaged("an operator has another number of bodies")),
        };
        for (inner, graph) in frames.iter_mut().zip(bodies.0) {
            inner.clear(graph, work.queues);
            frame.inferences += std::mem::take(&mut inner.inferences);
        }
        frame.bodies.insert(key, frames);
        let results = results?;
        // The second write to a repeated result would release the value of the first.
        let distinct: HashSet<_> = self.step.outputs.iter().collect();
        if results.len() != self.step.outputs.len() || distinct.len() != results.len() {
            results.into_iter().for_each(|value| value.release(work.queues));
            return Err(damaged("other results than declared"));
        }
        self.step.outputs.iter().zip(results).try_for_each(|(id, value)| self.keep(*id, value, frame, work))
    }

    /// The device of all operands and results.
    fn place(&self) -> Place {
        let ends = self.step.outputs.iter().chain(self.step.inputs.iter().flatten());
        ends.map(|id| self.place_of(*id)).next().unwrap_or(Place::MAIN)
    }

    fn enter<'a, 'o>(
        &'a self,
        which: usize,
        (graphs, loaded): Bodies<'a>,
        frames: &'a mut [Frame],
        outer: &Frame,
        work: &mut Work<'_>,
        watch: Option<&'a mut Watch<'o>>,
    ) -> Result<Running<'a, 'o>, KernelError> {
        let missing = || damaged("a body is missing");
        let graph = graphs.get(which).ok_or_else(missing)?;
        let frame = frames.get_mut(which).ok_or_else(missing)?;
        let loaded = loaded.get(which).ok_or_else(missing)?;
        let limit = work.engine.max_memory;
        frame.clear(graph, work.queues);
        let layout = loaded.layouts.first().ok_or_else(missing)?;
        let sizes = &*work.sizes;
        let is_new = frame.place_buffers(graph, (layout, 0), &sizes.registers, sizes.number, limit, work.queues);
        if is_new.map_err(RuntimeError::into_kernel_error)? {
            bind_steps(graph, loaded, 0, frame, work.queues).map_err(RuntimeError::of_body)?;
        }
        let (seed, stream) = seed(outer);
        frame.seed = seed;
        Ok(Running { run: self, graph, loaded, frame, stream, which, watch })
    }

    /// An operand by reference, valid until the outer graph continues; `None` when the step has no such operand.
    fn referred(&self, index: usize, frame: &Frame, work: &mut Work<'_>) -> Result<Option<Outside>, KernelError> {
        let Some(id) = self.step.inputs.get(index).copied().flatten() else { return Ok(None) };
        let place = self.place_of(id);
        match frame.argument(self.graph, work.queues, id) {
            Some(argument) if argument.rows.is_none() => Ok(Some(Outside::Memory { argument, place, is_owned: false })),
            _ => {
                let value = self.value(id, frame, work)?;
                Outside::new(value, place, work.queues).map(Some)
            }
        }
    }

    /// An operand as a value of the host; `None` when the step has no such operand.
    fn operand(&self, index: usize, frame: &Frame, work: &mut Work<'_>) -> Result<Option<Value>, KernelError> {
        let Some(id) = self.step.inputs.get(index).copied().flatten() else { return Ok(None) };
        self.value(id, frame, work).map(Some)
    }

    /// Required operands, by reference.
    fn all_referred(
        &self,
        range: Range<usize>,
        frame: &Frame,
        work: &mut Work<'_>,
    ) -> Result<Vec<Outside>, KernelError> {
        let missing = |i: usize| KernelError::Data(format!("operand {i} is missing"));
        range.map(|i| self.referred(i, frame, work)?.ok_or_else(|| missing(i))).collect()
    }

    /// The types of a body's results outside of it, where no iteration makes them.
    fn types_of_none(
        &self,
        body: &Graph,
        sources: impl Fn(&Operands<'_>) -> Vec<Source>,
        outer: &Frame,
        work: &mut Work<'_>,
    ) -> Result<Vec<ValueType>, KernelError> {
        let mut fed = Vec::with_capacity(self.step.inputs.len());
        for id in &self.step.inputs {
            fed.push(id.map(|id| self.known_type(id, outer, work)).transpose()?);
        }
        let fed: Vec<Option<&ValueType>> = fed.iter().map(Option::as_ref).collect();
        let types = |ids: &[PlanValueId]| -> Option<Vec<ValueType>> {
            ids.iter().map(|id| body.values.get(id.index()).map(|value| value.ty.clone())).collect()
        };
        let declared = types(&body.inputs).zip(types(&body.outputs)).ok_or_else(|| damaged("a value is missing"))?;
        let sources = sources(&Operands::new(&fed));
        Ok(types_outside((&declared.0, &declared.1), &sources, &mut InferContext::default()))
    }

    /// The type of a value in this run, with its contents where they may be sizes.
    fn known_type(&self, id: PlanValueId, frame: &Frame, work: &mut Work<'_>) -> Result<ValueType, KernelError> {
        match frame.argument(self.graph, work.queues, id) {
            Some(argument) if !may_be_sizes(&argument) => {
                Ok(TensorType::new(argument.data_type, argument.sizes[..].into()).into())
            }
            _ => self.value(id, frame, work).map(|value| known_type(&value)),
        }
    }

    fn branch(
        &self,
        bodies: Bodies<'_>,
        frames: &mut [Frame],
        outer: &Frame,
        work: &mut Work<'_>,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Outside>, KernelError> {
        let truth = self.referred(0, outer, work)?.ok_or_else(|| damaged("no condition"))?;
        let is_true = condition(&truth, work.queues);
        truth.release(work.queues);
        let first_else = 1 + bodies.0.first().map_or(0, |g| g.inputs.len());
        let (which, range) = if is_true? { (0, 1..first_else) } else { (1, first_else..self.step.inputs.len()) };
        let mut body = self.enter(which, bodies, frames, outer, work, watch)?;
        body.capture(0, range, outer, work)?;
        body.once(None, usize::MAX, work)
    }

    fn repeat(
        &self,
        op: &Loop,
        mut body: Running<'_, '_>,
        outer: &Frame,
        work: &mut Work<'_>,
    ) -> Result<Vec<Outside>, KernelError> {
        let most = match self.operand(0, outer, work)?.as_ref().and_then(Value::as_tensor).map(Tensor::to_i64) {
            None => None,
            Some(count) => match count.as_slice() {
                [count] => Some(usize::try_from(*count).unwrap_or(0)),
                other => {
                    let reason = format!("the number of iterations has {} elements", other.len());
                    return Err(KernelError::Data(reason));
                }
            },
        };
        let mut goes_on = match self.referred(1, outer, work)? {
            Some(value) => {
                let goes_on = condition(&value, work.queues);
                value.release(work.queues);
                goes_on?
            }
            None => true,
        };
        if most.is_none() && goes_on && body.always_goes_on() {
            let reason = "the loop never ends: it has no number of iterations, and its condition always holds";
            return Err(KernelError::Data(reason.to_owned()));
        }
        let (first_capture, place) = (2 + op.carried, self.place());
        let mut carried = self.all_referred(2..first_capture, outer, work)?;
        body.capture(first_capture, first_capture..self.step.inputs.len(), outer, work)?;
        let stacked_ids = body.graph.outputs.get(1 + op.carried..).ok_or_else(|| damaged("too few results"))?;
        let graph = body.graph;
        let mut stacks: Vec<Stack> = stacked_ids.iter().map(|_| Stack::new(0, false, None)).collect();
        let mut number = 0usize;
        while goes_on && most.is_none_or(|most| number < most) {
            let count = i64::try_from(number).unwrap_or(i64::MAX);
            let count = scalar(DataType::I64, &count.to_ne_bytes(), place, work)?;
            body.feed(0, count, work)?;
            let truth = scalar(DataType::Bool, &[1], place, work)?;
            body.feed(1, truth, work)?;
            for (i, value) in carried.drain(..).enumerate() {
                body.feed(2 + i, value, work)?;
            }
            let mut results = body.once(Some(number), 1 + op.carried, work)?.into_iter();
            let truth = results.next().ok_or_else(|| damaged("no condition"))?;
            let holds = condition(&truth, work.queues);
            truth.release(work.queues);
            goes_on = holds?;
            carried.extend(results.by_ref().take(op.carried));
            push(&mut stacks, results, work)?;
            number += 1;
        }
        let mut results = Vec::with_capacity(carried.len() + stacks.len());
        for value in carried {
            results.push(owned(value, work)?);
        }
        let types = match number {
            0 => self.types_of_none(graph, |types| op.sources(types), outer, work)?,
            _ => Vec::new(),
        };
        for (position, stack) in (1 + op.carried..).zip(stacks) {
            results.push(stack.finish(types.get(position), place, work)?);
        }
        Ok(results)
    }

    fn walk(
        &self,
        op: &Scan,
        mut body: Running<'_, '_>,
        outer: &Frame,
        work: &mut Work<'_>,
    ) -> Result<Vec<Outside>, KernelError> {
        let (first_capture, place) = (op.states + op.inputs.len(), self.place());
        let mut states = self.all_referred(0..op.states, outer, work)?;
        let mut walked = Vec::with_capacity(op.inputs.len());
        for (position, walk) in (op.states..first_capture).zip(&op.inputs) {
            let referred = self.referred(position, outer, work)?;
            let in_memory =
                referred.as_ref().filter(|operand| matches!(operand, Outside::Memory { is_owned: false, .. }));
            walked.push(match in_memory.and_then(|operand| Walked::in_memory(operand, walk.axis)) {
                Some(walked) => walked,
                None => {
                    let value = self.operand(position, outer, work)?;
                    let tensor = value.as_ref().and_then(Value::as_tensor);
                    let tensor = tensor.ok_or_else(|| KernelError::Data("only tensors are walked".to_owned()))?;
                    Walked::on_host(tensor, walk.axis)?
                }
            });
            if let Some(operand) = referred {
                operand.release(work.queues);
            }
        }
        body.capture(first_capture, first_capture..self.step.inputs.len(), outer, work)?;
        let lengths: Vec<usize> = walked.iter().map(Walked::length).collect();
        let length = lengths.first().copied().unwrap_or(0);
        if lengths.iter().any(|other| *other != length) {
            return Err(KernelError::Data(format!("the walked axes have different lengths: {lengths:?}")));
        }
        if body.graph.outputs.len().checked_sub(op.states) != Some(op.outputs.len()) {
            return Err(damaged("another number of results"));
        }
        let stack = |walk: &Walk| Stack::new(walk.axis, walk.reverse, Some(length));
        let mut stacks: Vec<Stack> = op.outputs.iter().map(stack).collect();
        for number in 0..length {
            for (i, value) in states.drain(..).enumerate() {
                body.feed(i, value, work)?;
            }
            for (i, (walked, walk)) in walked.iter_mut().zip(&op.inputs).enumerate() {
                let at = if walk.reverse { length.saturating_sub(1).saturating_sub(number) } else { number };
                let slice = walked.slice(at, place, work)?;
                body.feed(op.states + i, slice, work)?;
            }
            let mut results = body.once(Some(number), op.states, work)?.into_iter();
            states.extend(results.by_ref().take(op.states));
            push(&mut stacks, results, work)?;
        }
        let mut results = Vec::with_capacity(states.len() + stacks.len());
        for value in states {
            results.push(owned(value, work)?);
        }
        let types = match length {
            0 => self.types_of_none(body.graph, |types| op.sources(types), outer, work)?,
            _ => Vec::new(),
        };
        for (position, stack) in (op.states..).zip(stacks) {
            results.push(stack.finish(types.get(position), place, work)?);
        }
        Ok(results)
    }
}

/// Adds the result of an iteration to the joined result.
fn push(stacks: &mut [Stack], results: impl Iterator<Item = Outside>, work: &mut Work<'_>) -> Result<(), KernelError> {
    stacks.iter_mut().zip(results).try_for_each(|(stack, result)| stack.push(result, work))
}

/// A carried value after the last iteration, in memory that outlives the step.
fn owned(value: Outside, work: &mut Work<'_>) -> Result<Outside, KernelError> {
    match value {
        Outside::Memory { argument, place, is_owned: false } => duplicate(argument, place, work),
        other => Ok(other),
    }
}
