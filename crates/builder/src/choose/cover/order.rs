//! The order in which groups run: each after the groups that it reads, otherwise as in the network.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use sinter_backend::GraphView;

use crate::choose::cover::groups::Group;
use crate::choose::cover::problem::Problem;

/// Sorts groups, which together contain every living node once; returns their indices in execution order.
///
/// # Errors
/// Groups in a cycle, and groups that wait for such.
pub(crate) fn order(problem: &Problem<'_>, graph: &GraphView<'_>, groups: &[&Group]) -> Result<Vec<usize>, Vec<usize>> {
    let mut group_of = vec![usize::MAX; problem.body.nodes().len()];
    for (index, group) in groups.iter().enumerate() {
        group.nodes.iter().for_each(|&node| group_of[node] = index);
    }
    let mut readers: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); groups.len()];
    let mut awaited = vec![0usize; groups.len()];
    for (index, group) in groups.iter().enumerate() {
        let inputs = group.nodes.iter().flat_map(|&node| problem.body.nodes()[node].inputs.iter().flatten());
        for maker in inputs.filter_map(|id| graph.maker(*id)).map(|node| group_of[node]) {
            if maker != index && readers[maker].insert(index) {
                awaited[index] += 1;
            }
        }
    }
    // Of the groups that can run, the one whose last node comes first in the network.
    let rank = |index: usize| Reverse((groups[index].nodes.last().copied(), index));
    let mut ready: BinaryHeap<_> = (0..groups.len()).filter(|&index| awaited[index] == 0).map(rank).collect();
    let mut sorted = Vec::new();
    while let Some(Reverse((_, index))) = ready.pop() {
        sorted.push(index);
        for &reader in &readers[index] {
            awaited[reader] -= 1;
            if awaited[reader] == 0 {
                ready.push(rank(reader));
            }
        }
    }
    match sorted.len() == groups.len() {
        true => Ok(sorted),
        false => Err((0..groups.len()).filter(|&index| awaited[index] > 0).collect()),
    }
}
