//! What the memory of a graph depends on, sorted out when it is loaded: sizes that nobody has seen then cost
//! microseconds. Hundreds of values share a few shapes, so sizes are solved by shape and copied to values.

use std::collections::HashMap;

use sinter_base::view::element_bytes;
use sinter_ops::Op;
use sinter_plan::{Action, Graph, Home, Part, PlanValueId, Register};

/// See the module documentation.
pub struct Layout {
    /// Distinct lists of sizes.
    pub(crate) shapes: Vec<Shape>,
    /// Values whose sizes are known before a run.
    pub(crate) places: Vec<Place>,
    /// Number of buffers.
    pub(crate) buffers: usize,
    /// Values that lie in others.
    pub(crate) parts: Vec<PlacedPart>,
    /// Values that are filled part by part.
    pub(crate) joins: Vec<Join>,
    /// Distinct amounts of scratch memory.
    pub(crate) workspaces: Vec<Register>,
}

/// A value that is filled part by part.
pub(crate) struct Join {
    pub(crate) whole: PlanValueId,
    /// Its place among the parts, when it is one.
    pub(crate) own: Option<usize>,
    /// Places of its parts, side by side; `None` for a value that is none.
    pub(crate) parts: Vec<Option<usize>>,
}

/// A value that lies in another one.
pub(crate) struct PlacedPart {
    pub(crate) value: usize,
    pub(crate) part: Part,
    /// Bytes of an element.
    pub(crate) width: usize,
}

/// Sizes that several values have.
pub(crate) struct Shape {
    pub(crate) registers: Vec<Register>,
    /// The first of the values, for messages.
    pub(crate) first: PlanValueId,
}

/// A value whose sizes are known before a run.
pub(crate) struct Place {
    pub(crate) value: usize,
    pub(crate) shape: usize,
    /// Where it lies in the arena, and the bytes of an element.
    pub(crate) buffer: Option<(usize, usize)>,
}

impl Layout {
    /// Sorts a graph out.
    pub fn of(graph: &Graph) -> Self {
        let mut layout = Self {
            shapes: Vec::new(),
            places: Vec::new(),
            buffers: 0,
            parts: Vec::new(),
            joins: Vec::new(),
            workspaces: Vec::new(),
        };
        let mut known: HashMap<&[Register], usize> = HashMap::new();
        for (index, value) in graph.values.iter().enumerate() {
            let Some(registers) = &value.sizes else { continue };
            let buffer = match value.home {
                Home::Arena(buffer) => Some((buffer.index(), element_bytes(value.ty.data_type()))),
                Home::Part(part) => {
                    let width = element_bytes(value.ty.data_type());
                    layout.parts.push(PlacedPart { value: index, part, width });
                    None
                }
                Home::Input => None,
                // What a region computes on its way has a type and no place.
                Home::Weight(_) | Home::Dynamic => continue,
            };
            let shape = *known.entry(registers).or_insert(layout.shapes.len());
            if shape == layout.shapes.len() {
                layout.shapes.push(Shape { registers: registers.clone(), first: PlanValueId::new(index) });
            }
            layout.buffers = layout.buffers.max(buffer.map_or(0, |(buffer, _)| buffer + 1));
            layout.places.push(Place { value: index, shape, buffer });
        }
        let places: HashMap<usize, usize> =
            layout.parts.iter().enumerate().map(|(place, part)| (part.value, place)).collect();
        for step in &graph.steps {
            if let Action::Kernel { workspace: Some(register), .. } = &step.action
                && !layout.workspaces.contains(register)
            {
                layout.workspaces.push(*register);
            }
            if let Action::Placed { region } = &step.action
                && let Some(Op::Concat(_)) = region.only().map(|node| &node.op)
            {
                let place = |id: &PlanValueId| places.get(&id.index()).copied();
                let parts: Vec<_> = step.inputs.iter().flatten().map(place).collect();
                let join = |whole: &PlanValueId| Join { whole: *whole, own: place(whole), parts: parts.clone() };
                layout.joins.extend(step.outputs.iter().map(join));
            }
        }
        layout
    }
}
