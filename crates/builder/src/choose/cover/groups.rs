//! Groups of nodes that could be one region: those that the back end's proposers name, without duplicates, where they
//! can run as one step.
//! step.

use std::collections::HashSet;

use sinter_backend::{GraphView, Proposals};
use sinter_ops::{Op, ValueId};

use crate::choose::cover::problem::Problem;

/// Limit on the nodes of a group.
const MOST_NODES: usize = 16;
/// Limit on the groups for each node of a body.
const MOST_PER_NODE: usize = 16;

/// Nodes that could be one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Positions in the body, in order.
    pub(crate) nodes: Vec<usize>,
}

impl Group {
    /// A node by itself.
    pub(crate) fn single(node: usize) -> Self {
        Self { nodes: vec![node] }
    }

    /// The node under which reports name the region if it has no kernel.
    pub(crate) fn node(&self) -> usize {
        self.nodes[0]
    }

    /// Values that other groups read.
    pub(crate) fn results(&self, graph: &GraphView<'_>) -> Vec<ValueId> {
        if let [node] = self.nodes[..] {
            return read_outputs(graph, node).to_vec();
        }
        let made = self.nodes.iter().flat_map(|&node| graph.node(node).outputs.iter().copied());
        made.filter(|id| graph.is_read_outside(*id, &self.nodes)).collect()
    }
}

/// Results of a node up to the last one with a reader; operators whose kernels take fewer results than they have save
/// the work for the rest.
fn read_outputs<'a>(graph: &GraphView<'a>, node: usize) -> &'a [ValueId] {
    let node = graph.node(node);
    if !matches!(node.op, Op::Attention(_)) {
        return &node.outputs;
    }
    let count = node.outputs.iter().rposition(|id| graph.is_read_outside(*id, &[])).map_or(1, |last| last + 1);
    &node.outputs[..count]
}

/// All groups of several nodes that may deserve a region of their own; they overlap.
pub(crate) fn propose(problem: &Problem<'_>, graph: &GraphView<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    if !problem.may_join {
        return groups;
    }
    let living: HashSet<usize> = graph.living().collect();
    let mut known: HashSet<Vec<usize>> = HashSet::new();
    for seed in graph.living() {
        let mut proposals = Proposals::default();
        problem.back_end.proposers().iter().for_each(|proposer| proposer.propose(graph, seed, &mut proposals));
        let fits = |nodes: &Vec<usize>| {
            (2..=MOST_NODES).contains(&nodes.len())
                && nodes.iter().all(|node| living.contains(node) && graph.node(*node).op.bodies().is_empty())
                && graph.is_convex(nodes)
        };
        let new = proposals.into_iter().filter(fits).filter(|nodes| known.insert(nodes.clone()));
        groups.extend(new.take(MOST_PER_NODE).map(|nodes| Group { nodes }));
    }
    groups
}
