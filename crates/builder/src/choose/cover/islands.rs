//! Islands: operators without a kernel of the plan's back end run on another device, usually the host.
//!
//! An operator is on the island where no kernel of the main back end takes it. A value is native to the island where a
//! node on the island makes it, or where it is an input that only such nodes read; the other device gets one copy of
//! it. Weights and values in registers lie on both devices, and values that are not tensors of numbers belong to none.

use std::collections::BTreeMap;

use sinter_backend::GraphView;
use sinter_ops::ValueId;
use sinter_ops::operator::count_of;

use crate::choose::cover::alternatives::ScoredGroup;
use crate::choose::cover::conversions::Format;
use crate::choose::cover::problem::{Problem, UnsupportedNode, has_place};

/// Which values of a body are native to the island.
pub(crate) struct Islands {
    native: Vec<bool>,
}

impl Islands {
    /// Finds the native values, from the alternatives of each single operator.
    pub(crate) fn of(
        problem: &Problem<'_>,
        graph: &GraphView<'_>,
        singles: &BTreeMap<usize, Result<ScoredGroup, UnsupportedNode>>,
    ) -> Self {
        let mut native = vec![false; problem.body.value_count()];
        let is_island = |node: &usize| matches!(singles.get(node), Some(Ok(scored)) if scored.is_island);
        for node in singles.keys().filter(|node| is_island(node)) {
            let outputs = graph.node(*node).outputs.iter().filter(|id| has_place(problem.body.ty(**id)));
            outputs.for_each(|id| native[id.index()] = true);
        }
        // The bodies of control flow receive values on the plan's own device.
        for id in problem.body.inputs().iter().filter(|_| !problem.is_inside) {
            let readers = graph.readers(*id);
            native[id.index()] = has_place(problem.body.ty(*id))
                && !readers.is_empty()
                && !graph.is_result(*id)
                && readers.iter().all(is_island);
        }
        Self { native }
    }

    /// The format of a result of the body. The results of a whole network may lie on any device.
    pub(crate) fn result_format(&self, problem: &Problem<'_>, id: ValueId) -> Format {
        if self.is_native(id) && !problem.is_inside && has_place(problem.body.ty(id)) {
            Format::Island
        } else {
            Format::Plain
        }
    }

    /// Is a value made or given on the island?
    pub(crate) fn is_native(&self, id: ValueId) -> bool {
        self.native.get(id.index()) == Some(&true)
    }
}

/// Nanoseconds of a copy between both devices.
pub(crate) fn copy_time(problem: &Problem<'_>, id: ValueId) -> f64 {
    let ty = problem.body.ty(id);
    let count = problem.database.sizing().evaluate(&count_of(ty)).unwrap_or(0);
    let bytes = u64::try_from(count).unwrap_or(0).saturating_mul(u64::try_from(ty.data_type().bits()).unwrap_or(0)) / 8;
    problem.back_end.copy_time(bytes)
}
