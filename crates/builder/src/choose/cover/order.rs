//! The order in which groups run: each when all that it reads exists, otherwise as the network has them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use sinter_backend::GraphView;

use crate::choose::cover::Problem;
use crate::choose::cover::groups::Group;

/// Groups, which together hold every living node once, as numbers in an order of execution.
///
/// # Errors
/// Groups that wait for each other, or for such.
pub(crate) fn order(problem: &Problem<'_>, graph: &GraphView<'_>, groups: &[&Group]) -> Result<Vec<usize>, Vec<usize>> {
    let mut group_of = vec![usize::MAX; problem.body.nodes().len()];
    for (number, group) in groups.iter().enumerate() {
        group.nodes.iter().for_each(|&node| group_of[node] = number);
    }
    let mut readers: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); groups.len()];
    let mut awaited = vec![0usize; groups.len()];
    for (number, group) in groups.iter().enumerate() {
        let inputs = group.nodes.iter().flat_map(|&node| problem.body.nodes()[node].inputs.iter().flatten());
        for maker in inputs.filter_map(|id| graph.maker(*id)).map(|node| group_of[node]) {
            if maker != number && readers[maker].insert(number) {
                awaited[number] += 1;
            }
        }
    }
    // Of those that can run, the one whose last node comes first in the network.
    let rank = |number: usize| Reverse((groups[number].nodes.last().copied(), number));
    let mut ready: BinaryHeap<_> = (0..groups.len()).filter(|&number| awaited[number] == 0).map(rank).collect();
    let mut sorted = Vec::new();
    while let Some(Reverse((_, number))) = ready.pop() {
        sorted.push(number);
        for &reader in &readers[number] {
            awaited[reader] -= 1;
            if awaited[reader] == 0 {
                ready.push(rank(reader));
            }
        }
    }
    match sorted.len() == groups.len() {
        true => Ok(sorted),
        false => Err((0..groups.len()).filter(|&number| awaited[number] > 0).collect()),
    }
}
