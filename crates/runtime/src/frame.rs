//! A frame: the memory of one graph while it runs. Its layout is solved anew only when sizes change.

use std::collections::HashMap;
use std::ops::Range;

use sinter_backend::{Argument, Arguments, KernelError, Queue};
use sinter_base::{BlockId, DataType, MemoryRef, Rows, Sizes, Value};
use sinter_plan::{Graph, Home, PlanValueId};

use crate::error::RuntimeError;
use crate::layout::{Layout, Solved};
use crate::outside::{Outside, read};
use crate::placement::Placement;

/// The state of one graph: sizes, arena, values outside of the arena.
#[derive(Default)]
pub(crate) struct Frame {
    /// Sizes of values that are known before the run, by value.
    pub(crate) sizes: Vec<Sizes>,
    /// Bytes in the arena, or for parts of inputs in the input, by value; empty for values elsewhere.
    pub(crate) ranges: Vec<Range<usize>>,
    /// How parts lie there, by value; nothing for others.
    pub(crate) rows: Vec<Rows>,
    arena: Option<BlockId>,
    /// Bytes of the arena.
    pub(crate) arena_bytes: usize,
    /// Values outside of the arena, by value.
    pub(crate) outside: Vec<Option<Outside>>,
    /// Scratch memory of steps in the arena, by step; empty where there is none.
    workspaces: Vec<Range<usize>>,
    /// What steps are launched on, by step; see `arguments.rs`.
    pub(crate) arguments: Vec<Arguments>,
    /// Sizes of the distinct shapes, while they are laid out.
    pub(crate) shapes: Vec<Solved>,
    /// Places of buffers, while they are laid out.
    pub(crate) placement: Placement,
    /// The sizes that the layout is for: a number that the context counts up.
    pub(crate) laid_out: u64,
    /// How often memory was laid out.
    pub(crate) layouts: usize,
    /// How often sizes had to be inferred while running.
    pub(crate) inferences: usize,
    /// Frames of the bodies of control flow, by position of the step; kept between iterations and runs.
    pub(crate) bodies: HashMap<u64, Vec<Frame>>,
    /// What random numbers of the run are drawn from.
    pub(crate) seed: u64,
    /// Tells the random numbers of this iteration from those of others; 0 outside of control flow.
    pub(crate) stream: u64,
}

/// An argument that lies nowhere.
pub(crate) fn unplaced() -> Argument {
    let memory = MemoryRef { block: BlockId::new(0), offset: 0, bytes: 0 };
    Argument { memory, data_type: DataType::U8, sizes: Sizes::new(), rows: None }
}

impl Frame {
    /// Where a tensor of numbers lies; `None` for other values, and those that are not made yet. `weights` are those of the
    /// engine, in the queue's memory.
    pub(crate) fn argument(&self, graph: &Graph, weights: &[Option<Argument>], id: PlanValueId) -> Option<Argument> {
        let mut argument = unplaced();
        self.place_argument(graph, weights, id, &mut argument)?;
        Some(argument)
    }

    /// As [`Frame::argument`], in the memory of an argument that is there.
    pub(crate) fn place_argument(
        &self,
        graph: &Graph,
        weights: &[Option<Argument>],
        id: PlanValueId,
        argument: &mut Argument,
    ) -> Option<()> {
        let value = graph.values.get(id.index())?;
        let outside = |id: PlanValueId| self.outside.get(id.index())?.as_ref()?.argument();
        let known = match value.home {
            Home::Weight(weight) => Some(weights.get(weight.index())?.as_ref()?),
            Home::Input | Home::Dynamic => Some(outside(id)?),
            Home::Arena(_) if self.is_outside(id) => Some(outside(id)?),
            Home::Arena(_) | Home::Part(_) => None,
        };
        if let Some(known) = known {
            argument.clone_from(known);
            return Some(());
        }
        let range = self.ranges.get(id.index())?;
        argument.memory = match graph.values.get(graph.whole(id).index())?.home {
            Home::Arena(_) => self.in_arena(range)?,
            _ => {
                let whole = outside(graph.whole(id))?.memory;
                let is_inside = range.end <= whole.bytes;
                let offset = whole.offset.checked_add(range.start).filter(|_| is_inside)?;
                MemoryRef { offset, bytes: range.len(), ..whole }
            }
        };
        argument.data_type = value.ty.data_type();
        argument.sizes.clone_from(self.sizes.get(id.index())?);
        argument.rows = match value.home {
            Home::Part(_) => {
                let count: usize = argument.sizes.iter().product();
                Some(*self.rows.get(id.index())?).filter(|rows| !rows.is_contiguous(count))
            }
            _ => None,
        };
        Some(())
    }

    /// The scratch memory of a step; `None` where it has none.
    pub(crate) fn workspace(&self, position: usize) -> Option<MemoryRef> {
        self.workspaces.get(position).filter(|range| !range.is_empty()).and_then(|range| self.in_arena(range))
    }

    fn in_arena(&self, range: &Range<usize>) -> Option<MemoryRef> {
        Some(MemoryRef { block: self.arena?, offset: range.start, bytes: range.len() })
    }

    /// A copy of a value.
    pub(crate) fn value(
        &self,
        graph: &Graph,
        weights: &[Option<Argument>],
        id: PlanValueId,
        queue: &mut dyn Queue,
    ) -> Result<Value, RuntimeError> {
        if let Some(Some(Outside::Value(value))) = self.outside.get(id.index()) {
            return Ok(value.clone());
        }
        let argument = self.argument(graph, weights, id);
        let argument = argument.ok_or_else(|| RuntimeError::Damaged(format!("{id} was never made")))?;
        read(&argument, queue).map(Value::Tensor)
    }

    /// Does a value of the arena lie with the caller, in this run?
    pub(crate) fn is_outside(&self, id: PlanValueId) -> bool {
        self.outside.get(id.index()).is_some_and(Option::is_some)
    }

    /// Puts a value outside of the arena in its place.
    pub(crate) fn keep(&mut self, id: PlanValueId, value: Outside, queue: &mut dyn Queue) {
        match self.outside.get_mut(id.index()) {
            Some(slot) => {
                if let Some(old) = slot.replace(value) {
                    old.release(queue);
                }
            }
            None => value.release(queue),
        }
    }

    /// Frees values that no later step needs.
    pub(crate) fn release(&mut self, values: &[PlanValueId], queue: &mut dyn Queue) {
        for id in values {
            if let Some(value) = self.outside.get_mut(id.index()).and_then(Option::take) {
                value.release(queue);
            }
        }
    }

    /// Empties all places of values outside of the arena.
    pub(crate) fn clear(&mut self, graph: &Graph, queue: &mut dyn Queue) {
        for value in self.outside.drain(..).flatten() {
            value.release(queue);
        }
        self.outside.resize_with(graph.values.len(), || None);
    }

    /// Places every arena value for these registers. `number` names the sizes; the same number again changes nothing, and
    /// false is returned.
    pub(crate) fn lay_out(
        &mut self,
        graph: &Graph,
        layout: &Layout,
        registers: &[i64],
        number: u64,
        limit: usize,
        queue: &mut dyn Queue,
    ) -> Result<bool, RuntimeError> {
        if self.laid_out == number {
            return Ok(false);
        }
        self.laid_out = 0;
        self.sizes.resize_with(graph.values.len(), Sizes::new);
        self.ranges.resize(graph.values.len(), 0..0);
        layout.require(registers, &mut self.shapes, &mut self.placement, limit)?;
        let needed = self.placement.solve(&layout.lives).unwrap_or(usize::MAX);
        if needed > limit {
            return Err(RuntimeError::Memory { needed, limit });
        }
        for place in &layout.places {
            let Some(solved) = self.shapes.get(place.shape) else { continue };
            if let Some(sizes) = self.sizes.get_mut(place.value) {
                sizes.clone_from(&solved.sizes);
            }
            if let (Some((buffer, width)), Some(range)) = (place.buffer, self.ranges.get_mut(place.value)) {
                // The whole block fits into memory, so no end overflows.
                let start = self.placement.offset(buffer);
                *range = start..start.saturating_add(solved.bytes(width));
            }
        }
        self.workspaces.clear();
        for workspace in &layout.workspaces {
            let range = workspace.map(|(register, buffer)| {
                let bytes = usize::try_from(register.0).ok().and_then(|at| registers.get(at)).copied().unwrap_or(0);
                let start = self.placement.offset(buffer);
                start..start.saturating_add(usize::try_from(bytes).unwrap_or(0))
            });
            self.workspaces.push(range.unwrap_or(0..0));
        }
        self.place_parts(layout, registers)?;
        self.grow(needed, queue).map_err(|source| match source {
            KernelError::Memory(_) => RuntimeError::Memory { needed, limit },
            source => RuntimeError::Device { source },
        })?;
        self.layouts += 1;
        self.laid_out = number;
        Ok(true)
    }

    /// An arena of at least this many bytes; what it has is used again.
    fn grow(&mut self, bytes: usize, queue: &mut dyn Queue) -> Result<(), KernelError> {
        if let Some(arena) = self.arena.take_if(|_| self.arena_bytes < bytes) {
            queue.release(arena);
            self.arena_bytes = 0;
        }
        if self.arena.is_none() {
            self.arena = Some(queue.allocate(bytes)?);
            self.arena_bytes = bytes;
        }
        Ok(())
    }
}
