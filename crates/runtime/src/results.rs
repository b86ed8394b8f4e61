//! Results that kernels write where the caller has them, so that nothing copies them from the arena afterwards.
//!
//! A value of the arena whose place among the held values is taken lies there instead, for this run: the context puts the
//! memory of the bindings there before a run and gives it back with the result. The arena keeps its room for the value, which
//! nobody touches then.

use sinter_plan::{Graph, Home, Plan, PlanValueId};

use crate::frame::Frame;
use crate::memory::Held;

/// For every output of a plan its value, where kernels may write it to memory of the caller.
pub(crate) fn direct(plan: &Plan) -> Vec<Option<PlanValueId>> {
    let graph = &plan.graph;
    let has_parts =
        |id: PlanValueId| graph.values.iter().any(|value| matches!(value.home, Home::Part(part) if part.whole == id));
    let is_direct = |(position, id): (usize, PlanValueId)| {
        let home = graph.values.get(id.index()).map(|value| &value.home);
        // Of outputs that are one value, the last takes it.
        let again = plan.outputs.iter().skip(position + 1).any(|later| later.value == id);
        (matches!(home, Some(Home::Arena(_))) && !again && !has_parts(id)).then_some(id)
    };
    plan.outputs.iter().map(|port| port.value).enumerate().map(is_direct).collect()
}

impl Frame {
    /// Puts the memory of the caller where kernels find it.
    pub(crate) fn take_rooms(&mut self, graph: &Graph, direct: &[Option<PlanValueId>], outputs: &mut [Option<Held>]) {
        for (id, slot) in direct.iter().zip(outputs) {
            let Some(id) = id else { continue };
            let data_type = graph.values.get(id.index()).map(|value| value.ty.data_type());
            if let (Some(place), Some(data_type)) = (self.held.get_mut(id.index()), data_type) {
                *place = Some(Held::room(slot.take(), data_type));
            }
        }
    }

    /// Does a value of the arena lie with the caller, in this run?
    pub(crate) fn is_outside(&self, id: PlanValueId) -> bool {
        self.held.get(id.index()).is_some_and(Option::is_some)
    }
}
