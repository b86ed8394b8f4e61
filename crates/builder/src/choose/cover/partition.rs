//! The cheapest choice among overlapping groups: every node in exactly one group or by itself.
//!
//! Groups that share nodes, directly or through others, form one component; components are independent of each other.
//! Dynamic programming over the sets of nodes that are still to be covered solves one: the last of them is in one of
//! its groups or by itself. In chains, which networks mostly are, there are few such sets. A component with too many
//! takes the group that saves most, then the next.

use std::collections::{BTreeMap, HashMap};

/// A group with its cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Nodes in order.
    pub(crate) nodes: Vec<usize>,
    pub(crate) cost: f64,
}

/// Limit on the nodes of a component that is solved exactly.
const MOST_NODES: usize = 512;
/// Limit on the sets of nodes of a component.
const MOST_SETS: usize = 4096;

/// A set of nodes of a component.
type Set = Vec<u64>;

/// Indices of the chosen offers, in order; nodes in none of them are by themselves, which costs `single(node)`. Of
/// equal costs the larger and later groups are taken.
pub(crate) fn partition(offers: &[Offer], single: &dyn Fn(usize) -> f64) -> Vec<usize> {
    let mut chosen = Vec::new();
    for component in components(offers) {
        let mut nodes: Vec<usize> = component.iter().flat_map(|&offer| offers[offer].nodes.iter().copied()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let exact = (nodes.len() <= MOST_NODES).then(|| Exact::new(offers, &component, &nodes, single).solve());
        chosen.extend(exact.flatten().unwrap_or_else(|| by_gain(offers, &component, single)));
    }
    chosen.sort_unstable();
    chosen
}

/// Offers that share nodes, directly or through others.
fn components(offers: &[Offer]) -> Vec<Vec<usize>> {
    fn root(parents: &mut [usize], mut at: usize) -> usize {
        while parents[at] != at {
            parents[at] = parents[parents[at]];
            at = parents[at];
        }
        at
    }
    let mut parents: Vec<usize> = (0..offers.len()).collect();
    let mut holders: HashMap<usize, usize> = HashMap::new();
    for (index, offer) in offers.iter().enumerate() {
        for &node in &offer.nodes {
            let other = *holders.entry(node).or_insert(index);
            let (a, b) = (root(&mut parents, other), root(&mut parents, index));
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut components: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..offers.len() {
        components.entry(root(&mut parents, index)).or_default().push(index);
    }
    components.into_values().collect()
}

/// Dynamic programming over one component.
struct Exact<'a> {
    /// Costs of nodes by themselves.
    singles: Vec<f64>,
    /// By their last node: index, nodes and cost of an offer.
    by_last: Vec<Vec<(usize, Vec<usize>, &'a Offer)>>,
    /// The cost of the rest of a set, and the offer that covers its last node.
    known: HashMap<Set, (f64, Option<usize>)>,
}

impl<'a> Exact<'a> {
    fn new(offers: &'a [Offer], component: &[usize], nodes: &[usize], single: &dyn Fn(usize) -> f64) -> Self {
        let mut by_last: Vec<Vec<(usize, Vec<usize>, &Offer)>> = vec![Vec::new(); nodes.len()];
        for &index in component {
            let offer = &offers[index];
            let own: Vec<usize> = offer.nodes.iter().filter_map(|node| nodes.binary_search(node).ok()).collect();
            if let Some(&last) = own.last() {
                by_last[last].push((index, own, offer));
            }
        }
        for offers in &mut by_last {
            offers.sort_by(|a, b| (b.1.len(), &b.1).cmp(&(a.1.len(), &a.1)));
        }
        Self { singles: nodes.iter().map(|&node| single(node)).collect(), by_last, known: HashMap::new() }
    }

    /// The chosen offers; `None` when there are too many sets.
    fn solve(mut self) -> Option<Vec<usize>> {
        let count = self.singles.len();
        let mut set: Set = (0..count.div_ceil(64)).map(|_| 0).collect();
        (0..count).for_each(|node| set[node / 64] |= 1 << (node % 64));
        self.cost(&set)?;
        let mut chosen = Vec::new();
        while let Some(last) = last_of(&set) {
            let offer = self.known.get(&set)?.1;
            match offer.and_then(|index| self.by_last[last].iter().find(|offer| offer.0 == index)) {
                Some((index, nodes, _)) => {
                    chosen.push(*index);
                    set = without(&set, nodes);
                }
                None => set = without(&set, &[last]),
            }
        }
        Some(chosen)
    }

    fn cost(&mut self, set: &Set) -> Option<f64> {
        let Some(last) = last_of(set) else { return Some(0.0) };
        if let Some((cost, _)) = self.known.get(set) {
            return Some(*cost);
        }
        if self.known.len() >= MOST_SETS {
            return None;
        }
        let mut best: Option<(f64, Option<usize>)> = None;
        for at in 0..self.by_last[last].len() {
            let (index, nodes, offer) = &self.by_last[last][at];
            if !nodes.iter().all(|node| set[node / 64] >> (node % 64) & 1 == 1) {
                continue;
            }
            let (index, own, rest) = (*index, offer.cost, without(set, nodes));
            let cost = own + self.cost(&rest)?;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, Some(index)));
            }
        }
        let alone = self.singles[last] + self.cost(&without(set, &[last]))?;
        let best = best.filter(|(least, _)| *least <= alone).unwrap_or((alone, None));
        self.known.insert(set.clone(), best);
        Some(best.0)
    }
}

fn last_of(set: &Set) -> Option<usize> {
    let word = set.iter().rposition(|word| *word != 0)?;
    Some(word * 64 + 63 - set[word].leading_zeros() as usize)
}

fn without(set: &Set, nodes: &[usize]) -> Set {
    let mut rest = set.clone();
    nodes.iter().for_each(|node| rest[node / 64] &= !(1 << (node % 64)));
    rest
}

/// Indices of the offers that the greedy algorithm takes, in order: the one that saves most first.
pub(crate) fn greedy(offers: &[Offer], single: &dyn Fn(usize) -> f64) -> Vec<usize> {
    let mut chosen = by_gain(offers, &(0..offers.len()).collect::<Vec<_>>(), single);
    chosen.sort_unstable();
    chosen
}

/// Takes the group that saves most first.
fn by_gain(offers: &[Offer], component: &[usize], single: &dyn Fn(usize) -> f64) -> Vec<usize> {
    let saved = |index: usize| offers[index].nodes.iter().map(|&n| single(n)).sum::<f64>() - offers[index].cost;
    let mut order: Vec<(f64, usize)> = component.iter().map(|&index| (saved(index), index)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    let mut taken: Vec<usize> = Vec::new();
    let mut chosen = Vec::new();
    for (saved, index) in order {
        let nodes = &offers[index].nodes;
        if saved >= 0.0 && !nodes.iter().any(|node| taken.contains(node)) {
            taken.extend(nodes);
            chosen.push(index);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use sinter_testkit::Random;

    use super::*;

    /// The cost of the cheapest choice, by trying all of them.
    fn brute_force(offers: &[Offer], nodes: usize, single: &dyn Fn(usize) -> f64) -> f64 {
        let mut best = f64::INFINITY;
        for bits in 0..1u32 << offers.len() {
            let taken = |index: &usize| bits >> index & 1 == 1;
            let mut counts = vec![0; nodes];
            let chosen: Vec<&Offer> = (0..offers.len()).filter(taken).map(|index| &offers[index]).collect();
            chosen.iter().flat_map(|offer| &offer.nodes).for_each(|node| counts[*node] += 1);
            if counts.iter().all(|count| *count < 2) {
                best = best.min(cost(&chosen, nodes, single));
            }
        }
        best
    }

    fn cost(chosen: &[&Offer], nodes: usize, single: &dyn Fn(usize) -> f64) -> f64 {
        let is_alone = |node: &usize| !chosen.iter().any(|offer| offer.nodes.contains(node));
        chosen.iter().map(|offer| offer.cost).sum::<f64>() + (0..nodes).filter(is_alone).map(single).sum::<f64>()
    }

    #[test]
    fn as_cheap_as_brute_force() {
        let mut random = Random(1);
        let mut draw = |bound: usize| random.below(bound);
        for _ in 0..200 {
            let nodes = 2 + draw(9);
            let singles: Vec<f64> = (0..nodes).map(|_| if draw(8) == 0 { 1e15 } else { draw(50) as f64 }).collect();
            let offers: Vec<Offer> = (0..draw(11))
                .map(|_| {
                    let mut own: Vec<usize> = (0..2 + draw(3)).map(|_| draw(nodes)).collect();
                    own.sort_unstable();
                    own.dedup();
                    Offer { nodes: own, cost: draw(100) as f64 }
                })
                .collect();
            let single = |node: usize| singles[node];
            let chosen = partition(&offers, &single);
            let chosen: Vec<&Offer> = chosen.into_iter().map(|index| &offers[index]).collect();
            let mut all: Vec<usize> = chosen.iter().flat_map(|offer| offer.nodes.iter().copied()).collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "a node in two groups of {chosen:?}");
            assert_eq!(cost(&chosen, nodes, &single), brute_force(&offers, nodes, &single), "{singles:?} {offers:?}");
        }
    }

    #[test]
    fn long_chains_are_exact_and_tangles_are_covered() {
        // Pairs of neighbours that save something when they start at odd nodes.
        let chain: Vec<Offer> = (0..300)
            .map(|node| Offer { nodes: vec![node, node + 1], cost: if node % 2 == 1 { 1.0 } else { 1.9 } })
            .collect();
        assert_eq!(partition(&chain, &|_| 1.0), (0..150).map(|i| 2 * i + 1).collect::<Vec<_>>());
        // All pairs of many nodes: more sets than the limit.
        let tangle = (0..30).flat_map(|a| (a + 1..30).map(move |b| Offer { nodes: vec![a, b], cost: 1.0 }));
        let tangle: Vec<Offer> = tangle.collect();
        assert_eq!(partition(&tangle, &|_| 1.0).len(), 15);
    }

    #[test]
    fn equal_costs_make_larger_groups() {
        let offer = |nodes: &[usize]| Offer { nodes: nodes.to_vec(), cost: nodes.len() as f64 };
        assert_eq!(partition(&[offer(&[0, 2]), offer(&[1, 2]), offer(&[0, 1])], &|_| 1.0), [1]);
        assert_eq!(partition(&[offer(&[0, 1]), offer(&[0, 1, 2])], &|_| 1.0), [1]);
    }
}
