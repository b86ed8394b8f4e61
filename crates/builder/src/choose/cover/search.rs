//! Better choices of groups, with what conversions between formats cost.
//!
//! Where there are few groups all choices are tried. Elsewhere each group is put in, in the place of those that it
//! overlaps, and taken out in turn, as long as that gains.

use std::collections::BTreeMap;

use sinter_backend::GraphView;

use crate::choose::cover::alternatives::ScoredGroup;
use crate::choose::cover::formats::Formats;
use crate::choose::cover::groups::Group;
use crate::choose::cover::islands::Islands;
use crate::choose::cover::order::order;
use crate::choose::cover::{Problem, UnsupportedNode};

/// Choices times nodes up to which all choices are tried.
const EXACT_WORK: usize = 1 << 16;
/// Choices times nodes that are tried elsewhere.
const WORK: usize = 1 << 15;
/// Picoseconds that stand in for the cost of a node without a kernel.
const NO_KERNEL: i64 = 1 << 44;

/// One of the groups of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A node by itself.
    Single(usize),
    /// A group of several, by its number.
    Fused(usize),
}

/// A choice in order of execution, in its cheapest formats.
#[derive(Default)]
pub(crate) struct Evaluated {
    pub(crate) members: Vec<Member>,
    /// For each member that has a kernel: which alternative.
    pub(crate) labels: Vec<usize>,
    /// Picoseconds.
    pub(crate) cost: i64,
}

/// See the module documentation. A choice is a list of numbers of disjoint groups; all other nodes are by themselves.
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

    /// Everything in an order of execution.
    ///
    /// # Errors
    /// Groups that wait for each other, or for such.
    pub(crate) fn members(&self, choice: &[usize]) -> Result<Vec<Member>, Vec<usize>> {
        let mut alone = vec![false; self.problem.body.nodes().len()];
        self.graph.living().for_each(|node| alone[node] = true);
        choice.iter().flat_map(|&number| &self.fused[number].group.nodes).for_each(|&node| alone[node] = false);
        let rest: Vec<usize> = self.graph.living().filter(|&node| alone[node]).collect();
        let singles: Vec<Group> = rest.iter().map(|&node| Group::single(node)).collect();
        let groups: Vec<&Group> = choice.iter().map(|&number| &self.fused[number].group).chain(&singles).collect();
        let member = |at: usize| match choice.get(at) {
            Some(number) => Member::Fused(*number),
            None => Member::Single(rest[at - choice.len()]),
        };
        match order(self.problem, self.graph, &groups) {
            Ok(sorted) => Ok(sorted.into_iter().map(member).collect()),
            Err(waiting) => Err(waiting.into_iter().filter_map(|at| choice.get(at).copied()).collect()),
        }
    }

    /// Everything in the cheapest formats; `None` where groups wait for each other.
    pub(crate) fn evaluated(&self, choice: &[usize]) -> Option<Evaluated> {
        let members = self.members(choice).ok()?;
        let (mut scored, mut gaps) = (Vec::new(), 0i64);
        for member in &members {
            match member {
                Member::Fused(number) => scored.push(self.fused[*number]),
                Member::Single(node) => match self.singles.get(node) {
                    Some(Ok(single)) => scored.push(single),
                    _ => gaps += 1,
                },
            }
        }
        let prices = self.formats.prices(&scored);
        let labels = prices.labels();
        let cost = prices.of(&labels).saturating_add(gaps.saturating_mul(NO_KERNEL));
        Some(Evaluated { members, labels, cost })
    }

    /// Picoseconds of everything in the cheapest formats; `None` where groups wait for each other.
    pub(crate) fn cost(&self, choice: &[usize]) -> Option<i64> {
        self.evaluated(choice).map(|evaluated| evaluated.cost)
    }

    /// A choice that is no dearer than this one.
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

    /// The cheapest choice of all; of equal ones the given one.
    fn cheapest(&self, choice: Vec<usize>) -> Vec<usize> {
        let (mut best, mut least) = (self.cost(&choice).unwrap_or(i64::MAX), choice);
        for mask in 0..1usize << self.fused.len() {
            let other: Vec<usize> = (0..self.fused.len()).filter(|number| mask >> number & 1 == 1).collect();
            let are_disjoint =
                other.iter().enumerate().all(|(at, a)| other[..at].iter().all(|b| !self.overlap(*a, *b)));
            if let Some(cost) = are_disjoint.then(|| self.cost(&other)).flatten().filter(|cost| *cost < best) {
                (best, least) = (cost, other);
            }
        }
        least
    }

    /// The choice after changes that gain, of so many that are tried.
    fn improved(&self, mut choice: Vec<usize>, mut tries: usize) -> Vec<usize> {
        let Some(mut least) = self.cost(&choice) else { return choice };
        loop {
            let mut gains = false;
            for number in 0..self.fused.len() {
                if tries == 0 {
                    return choice;
                }
                tries -= 1;
                let other = match choice.contains(&number) {
                    true => choice.iter().copied().filter(|other| *other != number).collect(),
                    false => {
                        let kept = choice.iter().copied().filter(|other| !self.overlap(*other, number));
                        kept.chain([number]).collect::<Vec<usize>>()
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
