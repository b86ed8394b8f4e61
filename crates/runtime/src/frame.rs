//! A frame: the memory of one graph while it runs. Its layout is solved anew only when sizes change.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use sinter_backend::{Operand, Output, Rooms};
use sinter_base::arena::Parts;
use sinter_base::shape::element_count;
use sinter_base::view::ALIGNMENT;
use sinter_base::{Arena, Buffer, Rows, Sizes, Value, View};
use sinter_plan::{Graph, Home, PlanValueId};

use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::memory::{Held, read_sizes, size_of_register, tensor_of};
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

/// The sizes of a shape, and how many elements they make; `None` for more than there can be.
#[derive(Default)]
struct Solved {
    sizes: Sizes,
    count: Option<usize>,
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
    /// As large as any step needs.
    pub(crate) scratch: Buffer,
    /// What kernels list or copy on the way, kept between launches.
    pub(crate) rooms: Rooms,
    pub(crate) lists: Lists,
    /// Sizes of the distinct shapes, while they are laid out.
    shapes: Vec<Solved>,
    /// Places of buffers, while they are laid out.
    buffers: Vec<usize>,
    /// The sizes that the layout is for: a number that the context counts up.
    pub(crate) laid_out: u64,
    /// How often memory was laid out.
    pub(crate) layouts: usize,
    /// How often sizes had to be inferred while running.
    pub(crate) inferences: usize,
    /// Frames of the bodies of control flow, by position of the step; kept between iterations and runs.
    pub(crate) bodies: HashMap<u64, Vec<Frame>>,
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

    /// Places every arena value for these registers: buffers one after the other, each as large as its largest value.
    /// `number` names the sizes; the same number again changes nothing.
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
        let too_large = |needed| RuntimeError::Memory { needed, limit };
        self.sizes.resize_with(graph.values.len(), Sizes::new);
        self.ranges.resize(graph.values.len(), 0..0);
        self.shapes.resize_with(layout.shapes.len(), Solved::default);
        for (shape, solved) in layout.shapes.iter().zip(&mut self.shapes) {
            solved.sizes.clear();
            let ty = || graph.values.get(shape.first.index()).map(|value| value.ty.to_string()).unwrap_or_default();
            read_sizes(registers, &shape.registers, &ty, &mut solved.sizes)?;
            solved.count = element_count(&solved.sizes);
        }
        self.buffers.clear();
        self.buffers.resize(layout.buffers, 0);
        for place in &layout.places {
            let Some(solved) = self.shapes.get(place.shape) else { continue };
            if let Some(sizes) = self.sizes.get_mut(place.value) {
                sizes.clone_from(&solved.sizes);
            }
            if let Some((buffer, width)) = place.buffer {
                let bytes = solved.count.and_then(|count| count.checked_mul(width)).filter(|bytes| *bytes <= limit);
                let bytes = bytes.ok_or_else(|| too_large(usize::MAX))?;
                if let (Some(room), Some(range)) = (self.buffers.get_mut(buffer), self.ranges.get_mut(place.value)) {
                    (*room, *range) = (bytes.max(*room), 0..bytes);
                }
            }
        }
        let mut offset = 0usize;
        for room in &mut self.buffers {
            let start = offset;
            offset = offset
                .checked_add(*room)
                .and_then(|end| end.checked_next_multiple_of(ALIGNMENT))
                .ok_or_else(|| too_large(usize::MAX))?;
            *room = start;
        }
        for place in &layout.places {
            if let Some((buffer, _)) = place.buffer
                && let (Some(start), Some(range)) = (self.buffers.get(buffer), self.ranges.get_mut(place.value))
            {
                *range = *start..*start + range.end;
            }
        }
        self.place_parts(layout, registers)?;
        let mut scratch = 0;
        for register in &layout.workspaces {
            let bytes = usize::try_from(register.0).ok().and_then(|i| registers.get(i)).copied().unwrap_or(-1);
            scratch = size_of_register(bytes, &|| "scratch memory".to_owned())?.max(scratch);
        }
        let needed = offset.saturating_add(scratch);
        if needed > limit || !self.arena.try_resize(offset) || !self.scratch.try_resize(scratch) {
            return Err(too_large(needed));
        }
        self.rooms.allow(limit - needed);
        self.layouts += 1;
        self.laid_out = number;
        Ok(())
    }
}
