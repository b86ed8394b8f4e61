//! Improves the choice of groups, including the cost of conversions between formats.
//!
//! Where there are few groups the search tries all choices. Elsewhere it inserts each group, in place of those that it
//! overlaps, or removes it, while that lowers the cost.

use std::collections::BTreeMap;

use sinter_backend::GraphView;

use crate::choose::cover::alternatives::ScoredGroup;
use crate::choose::cover::formats::Formats;
use crate::choose::cover::groups::Group;
use crate::choose::cover::islands::Islands;
use crate::choose::cover::order::order;
use crate::choose::cover::problem::{Problem, UnsupportedNode};

/// Choices times nodes up to which the search tries all choices.
const EXACT_WORK: usize = 1 << 16;
/// Choices times nodes that it tries elsewhere.
const WORK: usize = 1 << 15;
/// Picoseconds that stand for the cost of a node without a kernel.
const NO_KERNEL: i64 = 1 << 44;

/// One of the groups of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A node by itself.
    Single(usize),
    /// A group of several nodes, by its index.
    Fused(usize),
}

/// A choice in order of execution, in its cheapest formats.
#[derive(Default)]
pub(crate) struct Evaluated {
    pub(crate) members: Vec<Member>,
    /// For each member that has a kernel: its alternative.
    pub(crate) labels: Vec<usize>,
    /// Picoseconds.
    pub(crate) cost: i64,
}

/// See the module documentation. A choice is a list of indices of disjoint groups; all other nodes are by themselves.
pub(crate) struct Search<'a> {
    problem: &'a Problem<'a>,
    graph: &'a GraphView<'a>,
    formats: Formats<'a>,
    pub(crate) singles: &'a BTreeMap<usize, Result<ScoredGroup, UnsupportedNode>>,
    pub(crate) fused: &'a [&'a ScoredGroup],
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        problem: &'a Problem<'a>,
        graph: &'a GraphView<'a>,
        islands: &'a Islands,
        singles: &'a BTreeMap<usize, Result<ScoredGroup, UnsupportedNode>>,
        fused: &'a [&'a ScoredGroup],
    ) -> Self {
        Self { problem, graph, formats: Formats::of(problem, islands), singles, fused }
    }

    /// All members of a choice in an order of execution.
    ///
    /// # Errors
    /// Groups in a cycle, and groups that wait for such.
    pub(crate) fn members(&self, choice: &[usize]) -> Result<Vec<Member>, Vec<usize>> {
        let mut alone = vec![false; self.problem.body.nodes().len()];
        self.graph.living().for_each(|node| alone[node] = true);
        choice.iter().flat_map(|&index| &self.fused[index].group.nodes).for_each(|&node| alone[node] = false);
        let rest: Vec<usize> = self.graph.living().filter(|&node| alone[node]).collect();
        let singles: Vec<Group> = rest.iter().map(|&node| Group::single(node)).collect();
        let groups: Vec<&Group> = choice.iter().map(|&index| &self.fused[index].group).chain(&singles).collect();
        let member = |at: usize| match choice.get(at) {
            Some(index) => Member::Fused(*index),
            None => Member::Single(rest[at - choice.len()]),
        };
        match order(self.problem, self.graph, &groups) {
            Ok(sorted) => Ok(sorted.into_iter().map(member).collect()),
            Err(waiting) => Err(waiting.into_iter().filter_map(|at| choice.get(at).copied()).collect()),
        }
    }

    /// The choice in its cheapest formats; `None` where groups form a cycle.
    pub(crate) fn evaluated(&self, choice: &[usize]) -> Option<Evaluated> {
        let members = self.members(choice).ok()?;
        let (mut scored, mut unsupported) = (Vec::new(), 0i64);
        for member in &members {
            match member {
                Member::Fused(index) => scored.push(self.fused[*index]),
                Member::Single(node) => match self.singles.get(node) {
                    Some(Ok(single)) => scored.push(single),
                    _ => unsupported += 1,
                },
            }
        }
        let prices = self.formats.prices(&scored);
        let labels = prices.labels();
        let cost = prices.of(&labels).saturating_add(unsupported.saturating_mul(NO_KERNEL));
        Some(Evaluated { members, labels, cost })
    }

    /// Picoseconds of the choice in its cheapest formats; `None` where groups form a cycle.
    pub(crate) fn cost(&self, choice: &[usize]) -> Option<i64> {
        self.evaluated(choice).map(|evaluated| evaluated.cost)
    }

    /// A choice that costs no more than this one.
    pub(crate) fn better(&self, choice: Vec<usize>) -> Vec<usize> {
        let singles = self.singles.values().flatten();
        if singles.chain(self.fused.iter().copied()).all(ScoredGroup::is_plain) {
            // In one format there are no conversions.
            return choice;
        }
        let (count, nodes) = (self.fused.len(), self.singles.len().max(1));
        if count < 16 && (nodes << count) <= EXACT_WORK {
            self.cheapest(choice)
        } else {
            self.improved(choice, WORK / nodes)
        }
    }

    /// The cheapest choice of all; the given one among equals.
    fn cheapest(&self, choice: Vec<usize>) -> Vec<usize> {
        let (mut best, mut least) = (self.cost(&choice).unwrap_or(i64::MAX), choice);
        for mask in 0..1usize << self.fused.len() {
            let other: Vec<usize> = (0..self.fused.len()).filter(|index| mask >> index & 1 == 1).collect();
            let are_disjoint =
                other.iter().enumerate().all(|(at, a)| other[..at].iter().all(|b| !self.overlap(*a, *b)));
            if let Some(cost) = are_disjoint.then(|| self.cost(&other)).flatten().filter(|cost| *cost < best) {
                (best, least) = (cost, other);
            }
        }
        least
    }

    /// The choice after improvements, of at most so many tries.
    fn improved(&self, mut choice: Vec<usize>, mut tries: usize) -> Vec<usize> {
        let Some(mut least) = self.cost(&choice) else { return choice };
        loop {
            let mut gains = false;
            for index in 0..self.fused.len() {
                if tries == 0 {
                    return choice;
                }
                tries -= 1;
                let other = match choice.contains(&index) {
                    true => choice.iter().copied().filter(|other| *other != index).collect(),
                    false => {
                        let kept = choice.iter().copied().filter(|other| !self.overlap(*other, index));
                        kept.chain([index]).collect::<Vec<usize>>()
                    }
                };
                if let Some(cost) = self.cost(&other).filter(|cost| *cost < least) {
                    (choice, least, gains) = (other, cost, true);
                }
            }
            if !gains {
                return choice;
            }
        }
    }

    fn overlap(&self, a: usize, b: usize) -> bool {
        self.fused[a].group.nodes.iter().any(|node| self.fused[b].group.nodes.contains(node))
    }
}
