//! A frame: the memory of one graph while it runs. Its layout is solved anew only when sizes change.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use sinter_backend::{Operand, Output, Rooms};
use sinter_base::arena::Parts;
use sinter_base::{Arena, Rows, Sizes, Value, View};
use sinter_plan::{Graph, Home, PlanValueId};

use crate::error::RuntimeError;
use crate::layout::{Layout, Solved};
use crate::memory::{Held, tensor_of};
use crate::placement::Placement;
use crate::weights::Weight;

/// Lists that every launch needs, kept so that none allocates them.
#[derive(Default)]
pub(crate) struct Lists {
    pub(crate) reads: Vec<Range<usize>>,
    pub(crate) writes: Vec<Range<usize>>,
    pub(crate) parts: Parts<'static>,
    pub(crate) inputs: Vec<Operand<'static>>,
    pub(crate) outputs: Vec<Output<'static>>,
    /// Memory of the caller, by result; see `results.rs`.
    pub(crate) outside: Vec<Option<Held>>,
}

/// The state of one graph: sizes, arena, values outside the arena.
#[derive(Default)]
pub(crate) struct Frame {
    /// Sizes of values that are known before the run, by value.
    pub(crate) sizes: Vec<Sizes>,
    /// Bytes in the arena, or for parts of inputs in the input, by value; empty for values elsewhere.
    pub(crate) ranges: Vec<Range<usize>>,
    /// How parts lie there, by value; nothing for others.
    pub(crate) rows: Vec<Rows>,
    pub(crate) arena: Arena,
    /// Values outside the arena, by value.
    pub(crate) held: Vec<Option<Held>>,
    /// Scratch memory of steps in the arena, by step; empty where there is none.
    pub(crate) workspaces: Vec<Range<usize>>,
    /// What kernels list or copy on the way, kept between launches.
    pub(crate) rooms: Rooms,
    pub(crate) lists: Lists,
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

impl Frame {
    /// The memory of a value, wherever it lives.
    pub(crate) fn view<'a>(
        &'a self,
        graph: &'a Graph,
        weights: &'a [Arc<Weight>],
        id: PlanValueId,
    ) -> Option<View<'a>> {
        let value = graph.values.get(id.index())?;
        match value.home {
            Home::Weight(weight) => weights.get(weight.index())?.held.view(),
            Home::Input | Home::Dynamic => self.held.get(id.index())?.as_ref()?.view(),
            Home::Arena(_) if self.is_outside(id) => self.held.get(id.index())?.as_ref()?.view(),
            Home::Arena(_) => {
                let bytes = self.arena.read(self.ranges.get(id.index())?.clone())?;
                View::new(value.ty.data_type(), self.sizes.get(id.index())?, bytes).ok()
            }
            Home::Part(part) => {
                let range = self.ranges.get(id.index())?.clone();
                let bytes = match graph.values.get(part.whole.index())?.home {
                    Home::Arena(_) => self.arena.read(range)?,
                    _ => self.held.get(part.whole.index())?.as_ref()?.view()?.bytes().get(range)?,
                };
                let rows = *self.rows.get(id.index())?;
                View::stepped(value.ty.data_type(), self.sizes.get(id.index())?, bytes, rows).ok()
            }
        }
    }

    /// A copy of a value.
    pub(crate) fn value(&self, graph: &Graph, weights: &[Arc<Weight>], id: PlanValueId) -> Result<Value, RuntimeError> {
        let missing = || RuntimeError::Damaged(format!("{id} was never made"));
        let value = graph.values.get(id.index()).ok_or_else(missing)?;
        match value.home {
            Home::Weight(weight) => weights.get(weight.index()).ok_or_else(missing)?.held.to_value(),
            Home::Input | Home::Dynamic => {
                self.held.get(id.index()).and_then(Option::as_ref).ok_or_else(missing)?.to_value()
            }
            Home::Arena(_) | Home::Part(_) => {
                tensor_of(self.view(graph, weights, id).ok_or_else(missing)?).map(Value::Tensor)
            }
        }
    }

    /// Frees values that no later step needs.
    pub(crate) fn release(&mut self, values: &[PlanValueId]) {
        for id in values {
            if let Some(slot) = self.held.get_mut(id.index()) {
                *slot = None;
            }
        }
    }

    /// Gives up what a run that failed may have left half done; the next one lays memory out anew.
    pub(crate) fn give_up(&mut self) {
        self.laid_out = 0;
        self.bodies.clear();
    }

    /// Empties all places of values outside the arena.
    pub(crate) fn clear(&mut self, graph: &Graph) {
        self.held.clear();
        self.held.resize_with(graph.values.len(), || None);
    }

    /// Places every arena value for these registers. `number` names the sizes; the same number again changes nothing.
    pub(crate) fn lay_out(
        &mut self,
        graph: &Graph,
        layout: &Layout,
        registers: &[i64],
        number: u64,
        limit: usize,
    ) -> Result<(), RuntimeError> {
        if self.laid_out == number {
            return Ok(());
        }
        self.laid_out = 0;
        self.sizes.resize_with(graph.values.len(), Sizes::new);
        self.ranges.resize(graph.values.len(), 0..0);
        layout.require(registers, &mut self.shapes, &mut self.placement, limit)?;
        let needed = self.placement.solve(&layout.lives).unwrap_or(usize::MAX);
        let too_large = RuntimeError::Memory { needed, limit };
        if needed > limit {
            return Err(too_large);
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
        if !self.arena.try_resize(needed) {
            return Err(too_large);
        }
        self.rooms.allow(limit - needed);
        self.layouts += 1;
        self.laid_out = number;
        Ok(())
    }
}
