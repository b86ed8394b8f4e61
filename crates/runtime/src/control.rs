//! Control flow: bodies run in frames of their own, as often as their operator says.
//!
//! A frame is kept for every body, between iterations and between runs. Captured values are handed in once; what an
//! iteration carries moves on without being copied. Per-iteration results are joined by `stack.rs`.

use std::collections::HashSet;
use std::ops::Range;

use sinter_backend::{KernelError, Region};
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::Op;
use sinter_ops::control::{Loop, Scan};
use sinter_plan::{Graph, Home, PlanValueId};

use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::graph::LoadedGraph;
use crate::memory::Held;
use crate::profile::Watch;
use crate::stack::{slices, stacked};
use crate::step::{Run, data, run_steps};

/// A body in its frame, ready to run.
struct Running<'a, 'o> {
    run: &'a Run<'a>,
    graph: &'a Graph,
    loaded: &'a LoadedGraph,
    frame: &'a mut Frame,
    /// Stream of random numbers of the whole step.
    stream: u64,
    /// Which of the bodies it is.
    which: usize,
    watch: Option<&'a mut Watch<'o>>,
}

fn condition(value: &Held) -> Result<bool, KernelError> {
    match value.view().filter(|v| v.data_type() == DataType::Bool).map(|v| v.bytes()) {
        Some([truth]) => Ok(*truth != 0),
        _ => Err(KernelError::Data("a condition must be one bool".to_owned())),
    }
}

fn damaged(what: &str) -> KernelError {
    KernelError::Recipe(format!("control flow: {what}"))
}

impl Running<'_, '_> {
    /// Hands a value in as an input.
    fn feed(&mut self, input: usize, value: Held) -> Result<(), KernelError> {
        let id = self.graph.inputs.get(input).ok_or_else(|| damaged("a body has too few inputs"))?;
        let (declared, sizes) = (self.graph.values.get(id.index()), self.frame.sizes.get(id.index()));
        // The layout of the body rests on these sizes; what is carried could have grown.
        if let Some((declared, sizes)) = declared.zip(sizes).filter(|(declared, _)| declared.sizes.is_some())
            && value.tensor_type() != Some((declared.ty.data_type(), sizes))
        {
            let reason = format!("a value of type {} where {}{sizes:?} is declared", value.type_text(), declared.ty);
            return Err(KernelError::Data(reason));
        }
        let slot = self.frame.held.get_mut(id.index()).ok_or_else(|| damaged("an input has no place"))?;
        *slot = Some(value);
        Ok(())
    }

    /// Hands in copies of a range of the step's operands, as inputs from `first` on. Weights that a body captures are
    /// weights of its own graph, and left out as operands.
    fn capture(&mut self, first: usize, operands: Range<usize>, outer: &Frame) -> Result<(), KernelError> {
        if self.graph.inputs.len() != first + operands.len() {
            return Err(damaged("a body takes another number of values"));
        }
        for (input, operand) in (first..).zip(operands) {
            if let Some(value) = self.run.operand(operand, outer)? {
                self.feed(input, Held::new(value))?;
            }
        }
        Ok(())
    }

    /// Runs all steps once; `number` tells iterations apart.
    fn once(&mut self, number: Option<usize>) -> Result<Vec<Held>, KernelError> {
        self.frame.stream = match number {
            None => self.stream,
            Some(number) => {
                let number = u64::try_from(number).unwrap_or(0).wrapping_add(1);
                self.stream.wrapping_mul(0x100_0000_01b3) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            }
        };
        let (registers, engine) = (self.run.registers, self.run.engine);
        if let Some(watch) = &mut self.watch {
            watch.enter(usize::try_from(self.run.position).unwrap_or(usize::MAX), self.which);
        }
        let watch = self.watch.as_deref_mut();
        let done = run_steps(self.graph, self.loaded, self.frame, registers, engine, watch);
        if let Some(watch) = &mut self.watch {
            watch.leave();
        }
        done.map_err(RuntimeError::of_body)?;
        let mut later: Vec<PlanValueId> = self.graph.outputs.clone();
        later.reverse();
        let mut results = Vec::with_capacity(later.len());
        while let Some(id) = later.pop() {
            let is_made = self.graph.values.get(id.index()).is_some_and(|v| v.home == Home::Dynamic);
            let moved = match self.frame.held.get_mut(id.index()) {
                // The last use of a value made inside takes it along.
                Some(slot) if is_made && !later.contains(&id) => slot.take(),
                _ => None,
            };
            results.push(match moved {
                Some(value) => value,
                None => Held::new(self.frame.value(self.graph, &self.run.engine.weights, id).map_err(data)?),
            });
        }
        Ok(results)
    }

    /// Does the body always ask for another iteration, or give the condition that it got?
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
        (graphs, loaded): (&[Graph], &[LoadedGraph]),
        frame: &mut Frame,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<(), KernelError> {
        let mut frames = frame.bodies.remove(&self.position).unwrap_or_default();
        frames.resize_with(graphs.len(), Frame::default);
        let results = match region.only().map(|node| &node.op) {
            Some(Op::If(_)) if graphs.len() == 2 => self.branch((graphs, loaded), &mut frames, frame, watch),
            Some(Op::Loop(op)) if graphs.len() == 1 => {
                let body = self.enter(0, (graphs, loaded), &mut frames, frame, watch);
                body.and_then(|body| self.repeat(op, body, frame))
            }
            Some(Op::Scan(op)) if graphs.len() == 1 => {
                let body = self.enter(0, (graphs, loaded), &mut frames, frame, watch);
                body.and_then(|body| self.walk(op, body, frame))
            }
            _ => Err(damaged("an operator has another number of bodies")),
        };
        for inner in &mut frames {
            inner.held.clear();
            frame.inferences += std::mem::take(&mut inner.inferences);
        }
        frame.bodies.insert(self.position, frames);
        let results = results?;
        if results.len() != self.step.outputs.len() {
            return Err(damaged("another number of results than declared"));
        }
        // A result named twice would be taken apart.
        let distinct: HashSet<_> = self.step.outputs.iter().collect();
        if distinct.len() != results.len() {
            return Err(damaged("a result is named twice"));
        }
        self.step.outputs.iter().zip(results).try_for_each(|(id, value)| self.keep(*id, value, frame))
    }

    fn enter<'a, 'o>(
        &'a self,
        which: usize,
        (graphs, loaded): (&'a [Graph], &'a [LoadedGraph]),
        frames: &'a mut [Frame],
        outer: &Frame,
        watch: Option<&'a mut Watch<'o>>,
    ) -> Result<Running<'a, 'o>, KernelError> {
        let missing = || damaged("a body is missing");
        let graph = graphs.get(which).ok_or_else(missing)?;
        let frame = frames.get_mut(which).ok_or_else(missing)?;
        let loaded = loaded.get(which).ok_or_else(missing)?;
        let limit = self.engine.max_memory;
        frame.lay_out(graph, &loaded.layout, self.registers, outer.laid_out, limit).map_err(data)?;
        frame.clear(graph);
        let (seed, stream) = self.seed(outer);
        frame.seed = seed;
        Ok(Running { run: self, graph, loaded, frame, stream, which, watch })
    }

    /// An operand as a value; `None` when it is left out.
    fn operand(&self, index: usize, frame: &Frame) -> Result<Option<Value>, KernelError> {
        let Some(id) = self.step.inputs.get(index).copied().flatten() else { return Ok(None) };
        frame.value(self.graph, &self.engine.weights, id).map(Some).map_err(data)
    }

    /// Operands that must be there.
    fn operands(&self, range: Range<usize>, frame: &Frame) -> Result<Vec<Value>, KernelError> {
        let one =
            |i: usize| self.operand(i, frame)?.ok_or_else(|| KernelError::Data(format!("operand {i} is missing")));
        range.map(one).collect()
    }

    fn branch(
        &self,
        (graphs, loaded): (&[Graph], &[LoadedGraph]),
        frames: &mut [Frame],
        outer: &Frame,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Held>, KernelError> {
        let truth = self.operands(0..1, outer)?.pop().map(Held::new);
        let truth = condition(&truth.ok_or_else(|| damaged("no condition"))?)?;
        let first_else = 1 + graphs.first().map_or(0, |g| g.inputs.len());
        let (which, range) = if truth { (0, 1..first_else) } else { (1, first_else..self.step.inputs.len()) };
        let mut body = self.enter(which, (graphs, loaded), frames, outer, watch)?;
        body.capture(0, range, outer)?;
        body.once(None)
    }

    fn repeat(&self, op: &Loop, mut body: Running<'_, '_>, outer: &Frame) -> Result<Vec<Held>, KernelError> {
        let most = match self.operand(0, outer)?.as_ref().and_then(Value::as_tensor).map(Tensor::to_i64) {
            None => None,
            Some(count) => match count.as_slice() {
                [count] => Some(usize::try_from(*count).unwrap_or(0)),
                other => {
                    let reason = format!("the number of iterations has {} elements", other.len());
                    return Err(KernelError::Data(reason));
                }
            },
        };
        let mut goes_on = match self.operand(1, outer)? {
            Some(value) => condition(&Held::new(value))?,
            None => true,
        };
        if most.is_none() && goes_on && body.always_goes_on() {
            let reason = "the loop never ends: it has no number of iterations, and its condition always holds";
            return Err(KernelError::Data(reason.to_owned()));
        }
        let first_capture = 2 + op.carried;
        let mut carried: Vec<Held> = self.operands(2..first_capture, outer)?.into_iter().map(Held::new).collect();
        body.capture(first_capture, first_capture..self.step.inputs.len(), outer)?;
        let stacked_ids = body.graph.outputs.get(1 + op.carried..).ok_or_else(|| damaged("too few results"))?;
        let mut stacks: Vec<Vec<Value>> = stacked_ids.iter().map(|_| Vec::new()).collect();
        let mut number = 0usize;
        while goes_on && most.is_none_or(|most| number < most) {
            let count = i64::try_from(number).unwrap_or(i64::MAX);
            body.feed(0, Held::new(Tensor::from_vec(&[], vec![count]).map_err(data)?.into()))?;
            body.feed(1, Held::new(Tensor::scalar(DataType::Bool, 1.0).into()))?;
            for (i, value) in carried.drain(..).enumerate() {
                body.feed(2 + i, value)?;
            }
            let mut results = body.once(Some(number))?;
            let made = results.split_off(1 + op.carried);
            carried = results.split_off(1);
            goes_on = condition(results.first().ok_or_else(|| damaged("no condition"))?)?;
            for (stack, value) in stacks.iter_mut().zip(made) {
                stack.push(value.to_value().map_err(data)?);
            }
            number += 1;
        }
        for (stack, id) in stacks.into_iter().zip(stacked_ids) {
            carried.push(Held::new(stacked(stack, body.graph.values.get(id.index()).map(|v| &v.ty), 0)?.into()));
        }
        Ok(carried)
    }

    fn walk(&self, op: &Scan, mut body: Running<'_, '_>, outer: &Frame) -> Result<Vec<Held>, KernelError> {
        let first_capture = op.states + op.inputs.len();
        let mut states: Vec<Held> = self.operands(0..op.states, outer)?.into_iter().map(Held::new).collect();
        let mut walked = Vec::with_capacity(op.inputs.len());
        for (value, walk) in self.operands(op.states..first_capture, outer)?.iter().zip(&op.inputs) {
            let tensor = value.as_tensor().ok_or_else(|| KernelError::Data("only tensors are walked".to_owned()))?;
            let mut parts = slices(tensor, walk.axis)?;
            if walk.reverse {
                parts.reverse();
            }
            walked.push(parts);
        }
        body.capture(first_capture, first_capture..self.step.inputs.len(), outer)?;
        let lengths: Vec<usize> = walked.iter().map(Vec::len).collect();
        let length = lengths.first().copied().unwrap_or(0);
        if lengths.iter().any(|other| *other != length) {
            return Err(KernelError::Data(format!("the walked axes have different lengths: {lengths:?}")));
        }
        let made_ids = body.graph.outputs.get(op.states..).filter(|ids| ids.len() == op.outputs.len());
        let made_ids = made_ids.ok_or_else(|| damaged("another number of results"))?;
        let mut stacks: Vec<Vec<Value>> = made_ids.iter().map(|_| Vec::new()).collect();
        let mut walked: Vec<_> = walked.into_iter().map(Vec::into_iter).collect();
        for step in 0..length {
            let parts = walked.iter_mut().filter_map(|parts| parts.next().map(|t| Held::new(t.into())));
            for (i, value) in states.drain(..).chain(parts).enumerate() {
                body.feed(i, value)?;
            }
            states = body.once(Some(step))?;
            for (stack, value) in stacks.iter_mut().zip(states.split_off(op.states)) {
                stack.push(value.to_value().map_err(data)?);
            }
        }
        for ((mut stack, walk), id) in stacks.into_iter().zip(&op.outputs).zip(made_ids) {
            if walk.reverse {
                stack.reverse();
            }
            let ty = body.graph.values.get(id.index()).map(|v| &v.ty);
            states.push(Held::new(stacked(stack, ty, walk.axis)?.into()));
        }
        Ok(states)
    }
}
