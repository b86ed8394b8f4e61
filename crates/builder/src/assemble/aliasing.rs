//! Concatenation and slices without copies: values that lie in the memory of others.
//!
//! An operand of a concatenation is written by its maker where the result has it, and a slice is read where its operand
//! has it. Either is rows of consecutive elements, a constant distance apart. Concatenations are placed from the last to
//! the first, so that one that is an operand of another lies there before its own operands are asked; one whose operands
//! already lie side by side, as the first ones of a longer one do, lies where they lie. What cannot be placed is copied
//! there, by a concatenation of one.
//!
//! What must hold: a maker writes, and all readers read, rows like these; no step writes into memory that it reads; a
//! result of the network, and what is given from outside, has a place of its own. Lives are `memory.rs`'s affair: a whole
//! lives while any part of it does. The bodies of control flow stay as they are.

mod placing;

use sinter_plan::aliasing::SymbolicAlias;
use sinter_plan::{Action, BufferId, Graph, Launch, PlanValue, PlanValueId, ShapeCompiler, Step, Storage, Variant};

use crate::assemble::aliasing::placing::{Copied, Placing};
use crate::assemble::candidates::Candidates;
use crate::assemble::lower::{AliasSlots, Sizes};

pub(crate) use crate::assemble::aliasing::placing::Known;

/// A concatenation or slice that moves elements in the plan, all of them or some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where in the model.
    pub origin: String,
    /// Its operator.
    pub operator: &'static str,
    /// Why, by operand where there are several.
    pub reasons: Vec<String>,
}

/// Places what can be in the outermost graph of a plan; says of the rest why it cannot.
pub(crate) fn place(
    known: &Known<'_>,
    graph: &mut Graph,
    candidates: &mut Candidates,
    sizes: &mut Sizes,
    shapes: &mut ShapeCompiler,
) -> Vec<Moved> {
    let Placing { places, is_placed, copied, moved, .. } = Placing::of(graph, candidates, known);
    for (index, place) in places.iter().enumerate() {
        if let Some(place) = place {
            add(PlanValueId::new(index), place, sizes, shapes);
        }
    }
    for (position, _) in is_placed.iter().enumerate().filter(|(_, is_placed)| **is_placed) {
        let Some(region) = graph.steps[position].region().cloned() else { continue };
        graph.steps[position].action = Action::Alias { region };
        sizes.kernels[position] = Vec::new();
    }
    let mut steps = Vec::new();
    for Copied { step, operand, from, place: rows, region, candidate } in copied {
        let id = PlanValueId::new(graph.values.len());
        let ty = region.body().output_types().swap_remove(0);
        let dims = ty.as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default();
        sizes.values.push(Some(dims.iter().map(|dim| shapes.dim(dim)).collect()));
        let place = graph.values[from.index()].place;
        graph.values.push(PlanValue { ty, sizes: None, storage: Storage::Arena(BufferId::new(0)), place });
        add(id, &rows, sizes, shapes);
        graph.steps[step].inputs[operand] = Some(id);
        candidates.insert(&region, candidate.clone());
        let action = Action::Launch(Launch::of(region, Variant::of(candidate.recipe)));
        let origins = graph.steps[step].origins.clone();
        steps.push((step, Step { action, inputs: vec![Some(from)], outputs: vec![id], origins }));
    }
    // From the last to the first, so that positions hold.
    steps.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
    for (position, step) in steps {
        graph.steps.insert(position, step);
        sizes.kernels.insert(position, Vec::new());
        sizes.bodies.insert(position, Vec::new());
    }
    moved
}

fn add(id: PlanValueId, place: &SymbolicAlias, sizes: &mut Sizes, shapes: &mut ShapeCompiler) {
    let rows = &place.rows;
    let [offset, inner, step] = [&rows.offset, &rows.inner, &rows.step].map(|dim| shapes.dim(dim));
    sizes.parts.push((id, AliasSlots { base: place.base, offset, inner, step }));
}
