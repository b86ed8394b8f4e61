//! The data to place the buffers of a graph by. The loader prepares it, so that placing buffers for new sizes takes
//! microseconds. Hundreds of values share a few shapes, so a frame solves sizes by shape and copies them to values.

use std::collections::HashMap;

use sinter_base::Sizes;
use sinter_base::shape::element_count;
use sinter_base::view::element_bytes;
use sinter_ops::Op;
use sinter_plan::{Action, Alias, Graph, Launch, Place, PlanValueId, Register, Stages, Storage};

use crate::error::RuntimeError;
use crate::placement::{Life, Placement};
use crate::registers::{read_sizes, size_of_register};

/// See the module documentation.
pub struct Layout {
    /// Distinct lists of sizes.
    pub(crate) shapes: Vec<Shape>,
    /// Values whose sizes are known before a run.
    pub(crate) sized: Vec<Sized>,
    /// Number of devices.
    pub(crate) places: usize,
    /// The device of each buffer.
    buffers: Vec<Place>,
    /// Values whose elements are in registers.
    pub(crate) in_registers: Vec<PlanValueId>,
    /// Steps with kernels for certain sizes: for each kernel the pairs of registers that must be equal.
    choices: Vec<(usize, Vec<Guards>)>,
    /// The life of each buffer: buffers of the plan, then one for each workspace.
    pub(crate) lives: Vec<Life>,
    /// Values that alias other values.
    pub(crate) parts: Vec<AliasedValue>,
    /// Base buffers that steps fill alias by alias.
    pub(crate) joins: Vec<Join>,
    /// The scratch memory of steps, by step.
    pub(crate) workspaces: Vec<Option<Workspace>>,
}

/// Pairs of registers that are equal.
type Guards = Vec<(Register, Register)>;

/// The scratch memory of a step.
pub(crate) struct Workspace {
    /// The register with its number of bytes, by kernel.
    bytes: Vec<Option<Register>>,
    pub(crate) buffer: usize,
}

impl Workspace {
    /// The register with the number of bytes that the chosen kernel needs; by default that of the last kernel.
    pub(crate) fn register(&self, chosen: Option<usize>) -> Option<Register> {
        self.bytes.get(chosen.unwrap_or(usize::MAX)).or(self.bytes.last()).copied().flatten()
    }
}

/// A base buffer that steps fill alias by alias.
pub(crate) struct Join {
    pub(crate) base: PlanValueId,
    /// Its index among the aliases, when it is an alias itself.
    pub(crate) own: Option<usize>,
    /// Indices of the aliases that fill it, side by side; `None` for a value that is no alias.
    pub(crate) parts: Vec<Option<usize>>,
}

/// A value that aliases another one.
pub(crate) struct AliasedValue {
    pub(crate) value: usize,
    pub(crate) part: Alias,
    /// Bytes of an element.
    pub(crate) width: usize,
}

/// Sizes that several values have.
pub(crate) struct Shape {
    pub(crate) registers: Vec<Register>,
    /// The type of the first of the values, for messages.
    ty: String,
}

/// The sizes of a shape, and the number of elements; `None` when that overflows.
#[derive(Default)]
pub(crate) struct Solved {
    pub(crate) sizes: Sizes,
    count: Option<usize>,
}

/// A value whose sizes are known before a run.
pub(crate) struct Sized {
    pub(crate) value: usize,
    pub(crate) shape: usize,
    /// Its buffer in the arena, and the bytes of an element.
    pub(crate) buffer: Option<(usize, usize)>,
}

impl Solved {
    /// Bytes of a value of this shape; 0 when they overflow.
    pub(crate) fn bytes(&self, width: usize) -> usize {
        self.count.and_then(|count| count.checked_mul(width)).unwrap_or(0)
    }
}

impl Layout {
    /// Prepares the layout of a graph whose sizes are all known before it runs.
    pub fn of(graph: &Graph) -> Self {
        Self::of_stage(graph, &Stages::default(), 0)
    }

    /// Prepares the layout of the values and steps of one stage of the outermost graph.
    pub(crate) fn of_stage(graph: &Graph, stages: &Stages, stage: usize) -> Self {
        let is_other = |id: PlanValueId| stages.of_value(graph, id) != stage;
        let mut layout = Self {
            shapes: Vec::new(),
            sized: Vec::new(),
            places: 1,
            buffers: Vec::new(),
            in_registers: Vec::new(),
            choices: Vec::new(),
            lives: Vec::new(),
            parts: Vec::new(),
            joins: Vec::new(),
            workspaces: Vec::new(),
        };
        let mut known: HashMap<&[Register], usize> = HashMap::new();
        let values = lives(graph);
        for (index, value) in graph.values.iter().enumerate() {
            layout.places = layout.places.max(value.place.index() + 1);
            if is_other(PlanValueId::new(index)) {
                continue;
            }
            let Some(registers) = &value.sizes else { continue };
            let width = element_bytes(value.ty.data_type());
            let buffer = match value.storage {
                Storage::Arena(buffer) => Some((buffer.index(), width)),
                Storage::Registers(_) => {
                    layout.in_registers.push(PlanValueId::new(index));
                    None
                }
                Storage::Alias(part) => {
                    layout.parts.push(AliasedValue { value: index, part, width });
                    None
                }
                Storage::Input => None,
                // An intermediate value of a region has a type and no storage.
                Storage::Weight(_) | Storage::Dynamic => continue,
            };
            let shape = *known.entry(registers).or_insert(layout.shapes.len());
            if shape == layout.shapes.len() {
                layout.shapes.push(Shape { registers: registers.clone(), ty: value.ty.to_string() });
            }
            if let (Some((buffer, _)), Some(life)) = (buffer, values.get(index)) {
                if layout.lives.len() <= buffer {
                    layout.lives.resize(buffer + 1, Life::NONE);
                }
                if let Some(known) = layout.lives.get_mut(buffer) {
                    *known = known.and(*life);
                }
                layout.buffers.resize(layout.lives.len(), Place::MAIN);
                if let Some(place) = layout.buffers.get_mut(buffer) {
                    *place = value.place;
                }
            }
            layout.sized.push(Sized { value: index, shape, buffer });
        }
        // A frame writes them once per layout, so they need their memory for the whole run.
        for value in &mut layout.sized {
            let Some(known) = graph.values.get(value.value) else { continue };
            if matches!(known.storage, Storage::Registers(_)) {
                value.buffer = Some((layout.lives.len(), element_bytes(known.ty.data_type())));
                layout.lives.push(Life::WHOLE);
                layout.buffers.push(known.place);
            }
        }
        let places: HashMap<usize, usize> =
            layout.parts.iter().enumerate().map(|(place, part)| (part.value, place)).collect();
        for (position, step) in graph.steps.iter().enumerate() {
            let bytes: Vec<_> = step.launch().into_iter().flat_map(Launch::variants).map(|v| v.workspace).collect();
            let is_of_stage = stages.of_step(graph, step) == stage;
            let has_any = is_of_stage && bytes.iter().any(Option::is_some);
            layout.workspaces.push(has_any.then_some(Workspace { bytes, buffer: layout.lives.len() }));
            if has_any {
                layout.lives.push(Life { first: position, last: position });
                let place = step.outputs.first().and_then(|id| graph.values.get(id.index())).map(|value| value.place);
                layout.buffers.push(place.unwrap_or(Place::MAIN));
            }
            if let Some(launch) = step.launch().filter(|launch| is_of_stage && !launch.special.is_empty()) {
                let guards = launch.special.iter().map(|variant| variant.guards.clone()).collect();
                layout.choices.push((position, guards));
            }
            if let Action::Alias { region } = &step.action
                && let Some(Op::Concat(_)) = region.only().map(|node| &node.op)
                && is_of_stage
            {
                let place = |id: &PlanValueId| places.get(&id.index()).copied();
                let parts: Vec<_> = step.inputs.iter().flatten().map(place).collect();
                let join = |base: &PlanValueId| Join { base: *base, own: place(base), parts: parts.clone() };
                layout.joins.extend(step.outputs.iter().map(join));
            }
        }
        layout
    }

    /// Bytes of the arena for these registers; `None` when they overflow or a size is negative.
    pub fn arena_bytes(&self, registers: &[i64]) -> Option<usize> {
        let mut required = self.required(registers)?;
        let mut at = |place| required.solve(&self.lives, |buffer| self.is_at(buffer, Place::new(place)));
        (0..self.places).try_fold(0usize, |sum, place| sum.checked_add(at(place)?))
    }

    /// The most bytes that are live at one step for these registers: no arena can be smaller.
    pub fn liveness_bytes(&self, registers: &[i64]) -> Option<usize> {
        self.required(registers)?.liveness(&self.lives)
    }

    /// The space that each buffer needs, before placement.
    fn required(&self, registers: &[i64]) -> Option<Placement> {
        let mut placement = Placement::default();
        let mut chosen = Vec::new();
        self.choose(registers, &mut chosen);
        self.require(registers, &chosen, &mut Vec::new(), &mut placement, usize::MAX).ok()?;
        Some(placement)
    }

    /// Does a buffer lie on this device?
    pub(crate) fn is_at(&self, buffer: usize, place: Place) -> bool {
        self.buffers.get(buffer) == Some(&place)
    }

    /// Chooses the kernel that each step launches for these registers; the last one where the list has no entry for the step.
    pub(crate) fn choose(&self, registers: &[i64], chosen: &mut Vec<usize>) {
        if self.choices.is_empty() {
            return;
        }
        chosen.resize(self.workspaces.len(), usize::MAX);
        let read = |register: &Register| usize::try_from(register.0).ok().and_then(|at| registers.get(at));
        for (position, guards) in &self.choices {
            let holds = |guards: &Guards| guards.iter().all(|(left, right)| read(left) == read(right));
            if let Some(slot) = chosen.get_mut(*position) {
                *slot = guards.iter().position(holds).unwrap_or(usize::MAX);
            }
        }
    }

    /// Solves all shapes, and computes the space that each buffer needs.
    pub(crate) fn require(
        &self,
        registers: &[i64],
        chosen: &[usize],
        shapes: &mut Vec<Solved>,
        placement: &mut Placement,
        limit: usize,
    ) -> Result<(), RuntimeError> {
        let too_large = || RuntimeError::Memory { needed: usize::MAX, limit };
        shapes.resize_with(self.shapes.len(), Solved::default);
        for (shape, solved) in self.shapes.iter().zip(&mut *shapes) {
            solved.sizes.clear();
            read_sizes(registers, &shape.registers, &|| shape.ty.clone(), &mut solved.sizes)?;
            solved.count = element_count(&solved.sizes);
        }
        placement.begin(self.lives.len());
        for place in &self.sized {
            let (Some(solved), Some((buffer, width))) = (shapes.get(place.shape), place.buffer) else { continue };
            let bytes = solved.count.and_then(|count| count.checked_mul(width)).filter(|bytes| *bytes <= limit);
            placement.require(buffer, bytes.ok_or_else(too_large)?);
        }
        for (position, workspace) in self.workspaces.iter().enumerate() {
            let Some(workspace) = workspace else { continue };
            let Some(register) = workspace.register(chosen.get(position).copied()) else { continue };
            let bytes = usize::try_from(register.0).ok().and_then(|i| registers.get(i)).copied().unwrap_or(-1);
            let bytes = size_of_register(bytes, &|| "scratch memory".to_owned())?;
            placement.require(workspace.buffer, Some(bytes).filter(|bytes| *bytes <= limit).ok_or_else(too_large)?);
        }
        Ok(())
    }
}

/// The life of each value's memory; a base buffer is live while any alias of it is.
fn lives(graph: &Graph) -> Vec<Life> {
    let mut lives = vec![Life::NONE; graph.values.len()];
    for (position, step) in graph.steps.iter().enumerate() {
        for id in &step.outputs {
            if let Some(life) = lives.get_mut(graph.base(*id).index()) {
                *life = life.and(Life { first: position, last: position });
            }
        }
    }
    for (life, last) in lives.iter_mut().zip(graph.last_uses()) {
        // Memory that no step writes is never reused.
        *life = if *life == Life::NONE { Life::WHOLE } else { life.and(Life { last, ..*life }) };
    }
    lives
}
