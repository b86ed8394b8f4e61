//! A frame: the memory of one graph while it runs. It solves sizes and places buffers again only when sizes change.

use std::collections::HashMap;
use std::ops::Range;

use sinter_backend::{Argument, Arguments, KernelError, KernelId, Queue};
use sinter_base::{BlockId, DataType, MemoryRef, Rows, Sizes, Value};
use sinter_plan::{Graph, Place, PlanValueId, Storage};

use crate::error::RuntimeError;
use crate::layout::{Layout, Solved};
use crate::outside::{Outside, read};
use crate::placement::Placement;
use crate::queues::Queues;

/// The state of one graph: sizes, arena, values outside of the arena.
#[derive(Default)]
pub(crate) struct Frame {
    /// Sizes of values that are known before the run, by value.
    pub(crate) sizes: Vec<Sizes>,
    /// Range of bytes in the arena, or for an alias of an input in that input, by value; empty for other values.
    pub(crate) ranges: Vec<Range<usize>>,
    /// Rows and row pitch of aliases, by value; zeros for other values.
    pub(crate) rows: Vec<Rows>,
    /// The stage whose arena a value lies in, by value.
    stage_of: Vec<usize>,
    /// The memory of each stage.
    stages: Vec<StageMemory>,
    /// Values outside of the arena, by value.
    pub(crate) outside: Vec<Option<Outside>>,
    /// Scratch memory of steps in the arena of their stage, by step; empty where there is none.
    workspaces: Vec<(usize, Range<usize>)>,
    /// The launches of steps, by step; see `arguments.rs`.
    pub(crate) bound: Vec<Bound>,
    /// Staging buffer for the elements of a value in registers.
    elements: Vec<u8>,
    /// The index of the kernel that each step launches for these sizes.
    pub(crate) chosen: Vec<usize>,
    /// How often the frame placed buffers.
    pub(crate) layouts: usize,
    /// How often steps inferred types during runs.
    pub(crate) inferences: usize,
    /// Frames of the bodies of control flow, by position of the step; kept between iterations and runs.
    pub(crate) bodies: HashMap<u64, Vec<Frame>>,
    /// The seed of the run's random numbers.
    pub(crate) seed: u64,
    /// The stream of this iteration's random numbers, other than that of any other iteration; 0 outside of control flow.
    pub(crate) stream: u64,
}

/// The memory of a stage, and the lists that solve it; kept to solve again without allocation.
#[derive(Default)]
struct StageMemory {
    /// Arenas by place.
    arenas: Vec<Arena>,
    /// Sizes of the distinct shapes.
    shapes: Vec<Solved>,
    /// Offsets of buffers.
    placement: Placement,
    /// The sizes that buffers are placed for: a number that the context counts up.
    placed_for: u64,
}

/// Memory of one device for values whose sizes are known before a run.
#[derive(Default)]
struct Arena {
    block: Option<BlockId>,
    bytes: usize,
}

/// The kernel and the arguments of a step's launch.
#[derive(Default)]
pub(crate) struct Bound {
    pub(crate) kernel: Option<KernelId>,
    pub(crate) arguments: Arguments,
}

/// An argument without memory.
pub(crate) fn unplaced() -> Argument {
    let memory = MemoryRef { block: BlockId::new(0), offset: 0, bytes: 0 };
    Argument { memory, data_type: DataType::U8, sizes: Sizes::new(), rows: None }
}

impl Frame {
    /// A tensor of numbers as an argument; `None` for other values, and for those that no step has made yet.
    pub(crate) fn argument(&self, graph: &Graph, queues: &Queues, id: PlanValueId) -> Option<Argument> {
        let mut argument = unplaced();
        self.place_argument(graph, queues, id, &mut argument)?;
        Some(argument)
    }

    /// As [`Frame::argument`], written to an existing argument so that nothing is allocated.
    pub(crate) fn place_argument(
        &self,
        graph: &Graph,
        queues: &Queues,
        id: PlanValueId,
        argument: &mut Argument,
    ) -> Option<()> {
        let value = graph.values.get(id.index())?;
        let outside = |id: PlanValueId| self.outside.get(id.index())?.as_ref()?.argument();
        let known = match value.storage {
            Storage::Weight(weight) => Some(queues.weight(value.place, weight)?),
            Storage::Input | Storage::Dynamic => Some(outside(id)?),
            Storage::Arena(_) if self.is_outside(id) => Some(outside(id)?),
            Storage::Arena(_) | Storage::Alias(_) | Storage::Registers(_) => None,
        };
        if let Some(known) = known {
            argument.clone_from(known);
            return Some(());
        }
        let range = self.ranges.get(id.index())?;
        let base = graph.base(id);
        argument.memory = match graph.values.get(base.index())?.storage {
            Storage::Arena(_) | Storage::Registers(_) if !self.is_outside(base) => {
                self.in_arena(value.place, self.stage_of(base), range)?
            }
            _ => {
                let memory = outside(base)?.memory;
                let first = self.ranges.get(base.index())?.start;
                let start = range.start.checked_sub(first)?;
                let is_inside = range.end.checked_sub(first)? <= memory.bytes;
                let offset = memory.offset.checked_add(start).filter(|_| is_inside)?;
                MemoryRef { offset, bytes: range.len(), ..memory }
            }
        };
        argument.data_type = value.ty.data_type();
        argument.sizes.clone_from(self.sizes.get(id.index())?);
        argument.rows = match value.storage {
            Storage::Alias(_) => {
                let count: usize = argument.sizes.iter().product();
                Some(*self.rows.get(id.index())?).filter(|rows| !rows.is_contiguous(count))
            }
            _ => None,
        };
        Some(())
    }

    /// The scratch memory of a step; `None` where it has none.
    pub(crate) fn workspace(&self, place: Place, position: usize) -> Option<MemoryRef> {
        let (stage, range) = self.workspaces.get(position).filter(|(_, range)| !range.is_empty())?;
        self.in_arena(place, *stage, range)
    }

    fn in_arena(&self, place: Place, stage: usize, range: &Range<usize>) -> Option<MemoryRef> {
        let block = self.stages.get(stage)?.arenas.get(place.index())?.block?;
        Some(MemoryRef { block, offset: range.start, bytes: range.len() })
    }

    /// Bytes of all arenas.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.stages.iter().flat_map(|stage| &stage.arenas).map(|arena| arena.bytes).sum()
    }

    /// A copy of a value.
    pub(crate) fn value(&self, graph: &Graph, queues: &mut Queues, id: PlanValueId) -> Result<Value, RuntimeError> {
        if let Some(Some(Outside::Value(value))) = self.outside.get(id.index()) {
            return Ok(value.clone());
        }
        let missing = || RuntimeError::Damaged(format!("{id} was never made"));
        let argument = self.argument(graph, queues, id).ok_or_else(missing)?;
        let place = graph.values.get(id.index()).map(|value| value.place).ok_or_else(missing)?;
        read(&argument, queues.at(place)).map(Value::Tensor)
    }

    /// Does a value of the arena lie in memory of the caller, in this run?
    pub(crate) fn is_outside(&self, id: PlanValueId) -> bool {
        self.outside.get(id.index()).is_some_and(Option::is_some)
    }

    /// Stores a value outside of the arena, and releases the one that was stored before.
    pub(crate) fn keep(&mut self, id: PlanValueId, value: Outside, queues: &mut Queues) {
        match self.outside.get_mut(id.index()) {
            Some(slot) => {
                if let Some(old) = slot.replace(value) {
                    old.release(queues);
                }
            }
            None => value.release(queues),
        }
    }

    /// Releases values that no later step needs.
    pub(crate) fn release(&mut self, values: &[PlanValueId], queues: &mut Queues) {
        for id in values {
            if let Some(value) = self.outside.get_mut(id.index()).and_then(Option::take) {
                value.release(queues);
            }
        }
    }

    /// Releases all values outside of the arena.
    pub(crate) fn clear(&mut self, graph: &Graph, queues: &mut Queues) {
        for value in self.outside.drain(..).flatten() {
            value.release(queues);
        }
        self.outside.resize_with(graph.values.len(), || None);
    }

    /// The stage whose arena holds a value that owns memory.
    fn stage_of(&self, id: PlanValueId) -> usize {
        self.stage_of.get(id.index()).copied().unwrap_or(0)
    }

    /// Do two values of the arena have the same memory?
    pub(crate) fn share_memory(&self, graph: &Graph, a: PlanValueId, b: PlanValueId) -> bool {
        let stages = [a, b].map(|id| self.stage_of(graph.base(id)));
        stages[0] == stages[1] && self.ranges.get(a.index()) == self.ranges.get(b.index())
    }

    /// Are the buffers of a stage placed for the sizes of this number?
    pub(crate) fn is_placed_for(&self, stage: usize, number: u64) -> bool {
        self.stages.get(stage).is_some_and(|known| known.placed_for == number)
    }

    /// Places every arena value of a stage for these registers. `number` names the sizes: for the number of the call before,
    /// the frame changes nothing and returns false.
    pub(crate) fn place_buffers(
        &mut self,
        graph: &Graph,
        (layout, stage): (&Layout, usize),
        registers: &[i64],
        number: u64,
        limit: usize,
        queues: &mut Queues,
    ) -> Result<bool, RuntimeError> {
        if self.is_placed_for(stage, number) {
            return Ok(false);
        }
        if self.stages.len() <= stage {
            self.stages.resize_with(stage.saturating_add(1), StageMemory::default);
        }
        // Later stages are placed again behind this one.
        for later in self.stages.iter_mut().skip(stage.saturating_add(1)) {
            later.release(queues);
        }
        let earlier = self.stages.iter().take(stage).flat_map(|stage| &stage.arenas);
        let mut needed: usize = earlier.map(|arena| arena.bytes).sum();
        let Some(memory) = self.stages.get_mut(stage) else { return Ok(false) };
        memory.placed_for = 0;
        self.sizes.resize_with(graph.values.len(), Sizes::new);
        self.ranges.resize(graph.values.len(), 0..0);
        self.stage_of.resize(graph.values.len(), 0);
        layout.choose(registers, &mut self.chosen);
        layout.require(registers, &self.chosen, &mut memory.shapes, &mut memory.placement, limit)?;
        memory.arenas.resize_with(layout.places, Arena::default);
        for (place, queue) in queues.all().take(layout.places) {
            let is_there = |buffer| layout.is_at(buffer, place);
            let bytes = memory.placement.solve(&layout.lives, is_there).unwrap_or(usize::MAX);
            needed = needed.saturating_add(bytes);
            if needed > limit {
                return Err(RuntimeError::Memory { needed, limit });
            }
            if let Some(arena) = memory.arenas.get_mut(place.index()) {
                arena.grow(bytes, &mut **queue).map_err(|source| match source {
                    KernelError::Memory(_) => RuntimeError::Memory { needed, limit },
                    source => RuntimeError::Device { source },
                })?;
            }
        }
        for place in &layout.sized {
            let Some(solved) = memory.shapes.get(place.shape) else { continue };
            if let Some(sizes) = self.sizes.get_mut(place.value) {
                sizes.clone_from(&solved.sizes);
            }
            if let Some(slot) = self.stage_of.get_mut(place.value) {
                *slot = stage;
            }
            if let (Some((buffer, width)), Some(range)) = (place.buffer, self.ranges.get_mut(place.value)) {
                // The block fits into memory, so no end overflows.
                let start = memory.placement.offset(buffer);
                *range = start..start.saturating_add(solved.bytes(width));
            }
        }
        self.workspaces.resize(layout.workspaces.len(), (0, 0..0));
        for ((position, workspace), slot) in layout.workspaces.iter().enumerate().zip(&mut self.workspaces) {
            let Some(workspace) = workspace else { continue };
            let register = workspace.register(self.chosen.get(position).copied());
            let bytes = register.and_then(|register| usize::try_from(register.0).ok()).and_then(|at| registers.get(at));
            let bytes = bytes.and_then(|bytes| usize::try_from(*bytes).ok()).unwrap_or(0);
            let start = memory.placement.offset(workspace.buffer);
            *slot = (stage, start..start.saturating_add(bytes));
        }
        self.place_aliases(layout, registers)?;
        self.write_registers(graph, (layout, stage), registers, queues)?;
        self.layouts += 1;
        if let Some(memory) = self.stages.get_mut(stage) {
            memory.placed_for = number;
        }
        Ok(true)
    }

    /// Writes the values whose elements are in registers.
    fn write_registers(
        &mut self,
        graph: &Graph,
        (layout, stage): (&Layout, usize),
        registers: &[i64],
        queues: &mut Queues,
    ) -> Result<(), RuntimeError> {
        for id in &layout.in_registers {
            let Some(value) = graph.values.get(id.index()) else { continue };
            let (Storage::Registers(elements), Some(range)) = (&value.storage, self.ranges.get(id.index())) else {
                continue;
            };
            let bytes = &mut self.elements;
            bytes.clear();
            for register in elements {
                let element = usize::try_from(register.0).ok().and_then(|at| registers.get(at)).copied().unwrap_or(0);
                match value.ty.data_type() {
                    DataType::I32 => {
                        let reason = || "an element of an i32 tensor of sizes".to_owned();
                        let wrong = |_| RuntimeError::Sizes { reason: reason(), left: element, right: i32::MAX.into() };
                        bytes.extend(i32::try_from(element).map_err(wrong)?.to_ne_bytes());
                    }
                    _ => bytes.extend(element.to_ne_bytes()),
                }
            }
            let Some(memory) = self.in_arena(value.place, stage, range).filter(|memory| memory.bytes > 0) else {
                continue;
            };
            queues.at(value.place).write(memory, &self.elements).map_err(|source| RuntimeError::Device { source })?;
        }
        Ok(())
    }
}

impl StageMemory {
    fn release(&mut self, queues: &mut Queues) {
        self.placed_for = 0;
        for ((_, queue), arena) in queues.all().zip(self.arenas.drain(..)) {
            if let Some(block) = arena.block {
                queue.release(block);
            }
        }
    }
}

impl Arena {
    /// Makes the arena at least this large; it keeps a block that is large enough.
    fn grow(&mut self, bytes: usize, queue: &mut dyn Queue) -> Result<(), KernelError> {
        if let Some(block) = self.block.take_if(|_| self.bytes < bytes) {
            queue.release(block);
            self.bytes = 0;
        }
        if self.block.is_none() {
            self.block = Some(queue.allocate(bytes)?);
            self.bytes = bytes;
        }
        Ok(())
    }
}
