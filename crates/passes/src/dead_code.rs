//! Removes dead code: nodes without effects whose results have no readers, and weights that only such nodes read.
//!
//! Applying any patch does this too; the pass runs first so that later passes count only uses that matter.

use sinter_ir::{Graph, Patch};

/// Number of nodes that go.
pub(crate) fn sweep(graph: &Graph<'_>, _patch: &mut Patch<'_>) -> usize {
    let nodes = graph.body().nodes();
    let mut living = vec![false; nodes.len()];
    let mut needed = vec![false; graph.body().value_count()];
    for id in graph.body().outputs() {
        needed[id.index()] = true;
    }
    for (position, node) in nodes.iter().enumerate().rev() {
        if node.op.effects().asserts || node.outputs.iter().any(|id| needed[id.index()]) {
            living[position] = true;
            for id in node.inputs.iter().flatten() {
                needed[id.index()] = true;
            }
        }
    }
    living.iter().filter(|living| !**living).count()
}
