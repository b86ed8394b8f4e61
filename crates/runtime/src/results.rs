//! Results that kernels write to memory of the caller, so that the runtime need not copy them from the arena.
//!
//! Before a run the context stores the memory of the bindings in the frame as the outside memory of the value, and afterwards
//! it returns the memory with the result. A frame uses the outside memory of a value in place of the value's range of the
//! arena, for aliases of the value too. The arena keeps that range, and kernels of this run do not touch it.

use sinter_plan::{Plan, PlanValueId, Storage};

/// The value of every output of a plan that kernels may write to memory of the caller; `None` for other outputs.
pub(crate) fn direct(plan: &Plan) -> Vec<Option<PlanValueId>> {
    let graph = &plan.graph;
    let is_direct = |(position, id): (usize, PlanValueId)| {
        let storage = graph.values.get(id.index()).map(|value| &value.storage);
        // Of several outputs with one value, the last one takes it.
        let again = plan.outputs.iter().skip(position + 1).any(|later| later.value == id);
        (matches!(storage, Some(Storage::Arena(_))) && !again).then_some(id)
    };
    plan.outputs.iter().map(|port| port.value).enumerate().map(is_direct).collect()
}
