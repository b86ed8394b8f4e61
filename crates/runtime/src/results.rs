//! Results that kernels write where the caller has them, so that nothing copies them from the arena afterwards.
//!
//! A value of the arena whose place among the values outside of it is taken lies there instead, for this run: the context puts
//! the memory of the bindings there before a run and gives it back with the result. The arena keeps its range for the value,
//! which no kernel touches then.

use sinter_plan::{Plan, PlanValueId, Storage};

/// For every output of a plan its value, where kernels may write it to memory of the caller.
pub(crate) fn direct(plan: &Plan) -> Vec<Option<PlanValueId>> {
    let graph = &plan.graph;
    let has_parts = |id: PlanValueId| {
        graph.values.iter().any(|value| matches!(value.storage, Storage::Alias(part) if part.base == id))
    };
    let is_direct = |(position, id): (usize, PlanValueId)| {
        let storage = graph.values.get(id.index()).map(|value| &value.storage);
        // Of outputs that are one value, the last takes it.
        let again = plan.outputs.iter().skip(position + 1).any(|later| later.value == id);
        (matches!(storage, Some(Storage::Arena(_))) && !again && !has_parts(id)).then_some(id)
    };
    plan.outputs.iter().map(|port| port.value).enumerate().map(is_direct).collect()
}
