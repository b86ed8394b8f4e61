//! Concatenations, slices and reshapes without copies: values that are aliases of other buffers.
//!
//! The maker of a concatenation's operand writes it into the result, and readers of a slice read it in the operand.
//! Either is rows of consecutive elements, a constant distance apart. Concatenations become aliases from the last to
//! the first, so that one that is an operand of another has its place before its own operands are decided; one whose
//! operands are already contiguous, as the first ones of a longer concatenation are, becomes an alias of their buffer.
//! A concatenation of one operand copies each operand that cannot be an alias. Operand and result of a reshape are one
//! buffer ([`reshapes`]).
//!
//! Three conditions hold: the maker writes, and all readers read, such rows; no step writes into memory that it reads;
//! results and inputs of the network keep buffers of their own. `buffers.rs` computes liveness: a base buffer is live
//! while any alias of it is. The bodies of control flow stay unchanged.

mod placing;
mod reshapes;

use sinter_plan::aliasing::SymbolicAlias;
use sinter_plan::{Action, BufferId, Graph, Launch, PlanValue, PlanValueId, ShapeCompiler, Step, Storage, Variant};

use crate::assemble::aliasing::placing::{Copied, Placing};
use crate::assemble::candidates::Candidates;
use crate::assemble::lowering::{AliasSlots, Sizes};

pub(crate) use crate::assemble::aliasing::placing::Known;
pub use crate::assemble::aliasing::placing::Moved;
pub(crate) use crate::assemble::aliasing::reshapes::is_reshape;

/// Makes aliases in the outermost graph of a plan; returns the concatenations, slices and reshapes that move elements,
/// with reasons.
pub(crate) fn place(
    known: &Known<'_>,
    graph: &mut Graph,
    candidates: &mut Candidates,
    sizes: &mut Sizes,
    shapes: &mut ShapeCompiler,
) -> Vec<Moved> {
    let Placing { places, has_no_work, copied, moved, .. } = Placing::of(graph, candidates, known);
    for (index, place) in places.iter().enumerate() {
        if let Some(place) = place {
            add(PlanValueId::new(index), place, sizes, shapes);
        }
    }
    for (position, _) in has_no_work.iter().enumerate().filter(|(_, has_no_work)| **has_no_work) {
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
    // From the last to the first, so that positions stay valid.
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
    sizes.aliases.push((id, AliasSlots { base: place.base, offset, inner, step }));
}
