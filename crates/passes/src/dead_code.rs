//! Removes what nobody needs: nodes without effects whose results are not read, and weights that only they read.
//!
//! Applying any patch does this; the pass exists so that a network is clean before the first other pass counts uses.

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
