//! Cheapest labels by elimination: exact where few terms interact.
//!
//! A problem is a sum of terms, each a table over the labels of a few variables. A variable is eliminated by adding up the
//! terms that mention it and keeping, for every labelling of their other variables, the cheapest label. Variables with few
//! neighbours go first, so that on a tree tables stay as small as its edges, and elsewhere they grow with the width of the
//! tree decomposition that the order is (Bertelè and Brioschi 1972; Dechter 1999).

use std::collections::BTreeSet;

/// A prohibitive cost: larger than any sum of real ones.
pub(crate) const NEVER: i64 = 1 << 50;

/// A table of costs over the labels of some variables, the last one moving fastest.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    variables: Vec<usize>,
    costs: Vec<i64>,
}

/// A labelling problem.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labelling {
    /// Labels of each variable.
    sizes: Vec<usize>,
    terms: Vec<Term>,
}

/// An eliminated variable: its cheapest label for the labels of those that are left.
struct Eliminated {
    variable: usize,
    others: Vec<usize>,
    cheapest: Vec<usize>,
}

impl Labelling {
    /// Adds a variable with so many labels.
    pub(crate) fn variable(&mut self, labels: usize) -> usize {
        self.sizes.push(labels);
        self.sizes.len() - 1
    }

    /// Adds a term over different variables; `cost` receives their labels in this order.
    pub(crate) fn term(&mut self, variables: &[usize], cost: impl Fn(&[usize]) -> i64) {
        let mut costs = Vec::new();
        each_labelling(&self.sizes_of(variables), |labels| costs.push(cost(labels)));
        self.terms.push(Term { variables: variables.to_vec(), costs });
    }

    fn sizes_of(&self, variables: &[usize]) -> Vec<usize> {
        variables.iter().map(|&variable| self.sizes[variable]).collect()
    }

    /// The cheapest labels, the first of equal ones; `None` where a table would have more entries than `most`.
    pub(crate) fn solve(self, most: usize) -> Option<Vec<usize>> {
        let count = self.sizes.len();
        let mut open = Open {
            neighbours: vec![BTreeSet::new(); count],
            mentions: vec![Vec::new(); count],
            terms: self.terms.into_iter().map(Some).collect(),
            sizes: self.sizes,
        };
        for index in 0..open.terms.len() {
            open.link(index);
        }
        if open.largest_table(most) > most {
            return None;
        }
        let mut entries: Vec<usize> = (0..count).map(|variable| open.entries(variable)).collect();
        let mut left: Vec<usize> = (0..count).collect();
        let mut eliminated = Vec::new();
        while let Some(at) = (0..left.len()).min_by_key(|&at| entries[left[at]]) {
            let variable = left.remove(at);
            let done = open.eliminate(variable);
            done.others.iter().for_each(|&other| entries[other] = open.entries(other));
            eliminated.push(done);
        }
        let mut labels = vec![0; count];
        for Eliminated { variable, others, cheapest } in eliminated.into_iter().rev() {
            let position = others.iter().fold(0, |position, &other| position * open.sizes[other] + labels[other]);
            labels[variable] = cheapest[position];
        }
        Some(labels)
    }
}

/// The problem during elimination.
#[derive(Default)]
struct Open {
    sizes: Vec<usize>,
    terms: Vec<Option<Term>>,
    /// By variable: the other variables of the terms that mention it.
    neighbours: Vec<BTreeSet<usize>>,
    /// By variable: the terms that mentioned it when they were added.
    mentions: Vec<Vec<usize>>,
}

impl Open {
    /// Registers the variables of a term.
    fn link(&mut self, index: usize) {
        let Some(term) = &self.terms[index] else { return };
        for &variable in &term.variables {
            self.mentions[variable].push(index);
            self.neighbours[variable].extend(term.variables.iter().filter(|other| **other != variable));
        }
    }

    /// Entries of the table for eliminating a variable.
    fn entries(&self, variable: usize) -> usize {
        let sizes = self.neighbours[variable].iter().map(|&other| self.sizes[other]);
        sizes.fold(self.sizes[variable], usize::saturating_mul)
    }

    /// Entries of the largest table, computed without tables; the first one beyond `most` ends the search.
    fn largest_table(&self, most: usize) -> usize {
        let mut open = Open { neighbours: self.neighbours.clone(), sizes: self.sizes.clone(), ..Open::default() };
        let mut entries: Vec<usize> = (0..open.sizes.len()).map(|variable| open.entries(variable)).collect();
        let mut left: Vec<usize> = (0..open.sizes.len()).collect();
        let mut largest = 0;
        while let Some(at) = (0..left.len()).min_by_key(|&at| entries[left[at]]) {
            let variable = left.remove(at);
            largest = largest.max(entries[variable]);
            if largest > most {
                break;
            }
            let others = std::mem::take(&mut open.neighbours[variable]);
            for &other in &others {
                open.neighbours[other].extend(others.iter().filter(|another| **another != other));
                open.neighbours[other].remove(&variable);
            }
            others.iter().for_each(|&other| entries[other] = open.entries(other));
        }
        largest
    }

    fn eliminate(&mut self, variable: usize) -> Eliminated {
        let others: Vec<usize> = self.neighbours[variable].iter().copied().collect();
        let indices = std::mem::take(&mut self.mentions[variable]);
        let own: Vec<Term> = indices.into_iter().filter_map(|index| self.terms[index].take()).collect();
        // For each term, the positions of its variables among the others; `None` for the eliminated one.
        let place = |id: &usize| others.iter().position(|other| other == id);
        let places: Vec<Vec<Option<usize>>> =
            own.iter().map(|term| term.variables.iter().map(place).collect()).collect();
        let (mut cheapest, mut costs) = (Vec::new(), Vec::new());
        let sizes: Vec<usize> = others.iter().map(|&other| self.sizes[other]).collect();
        each_labelling(&sizes, |labels| {
            let cost = |own_label: usize| {
                let of = |(term, places): (&Term, &Vec<Option<usize>>)| {
                    let label = |place: &Option<usize>| place.map_or(own_label, |place| labels[place]);
                    let sizes = term.variables.iter().map(|&id| self.sizes[id]);
                    let at = places.iter().zip(sizes).fold(0, |at, (place, size)| at * size + label(place));
                    term.costs[at]
                };
                own.iter().zip(&places).map(of).fold(0i64, i64::saturating_add)
            };
            let least = (0..self.sizes[variable]).map(|label| (cost(label), label)).min();
            let (least, label) = least.unwrap_or((NEVER, 0));
            cheapest.push(label);
            costs.push(least.min(NEVER));
        });
        for &other in &others {
            self.neighbours[other].remove(&variable);
        }
        self.terms.push(Some(Term { variables: others.clone(), costs }));
        self.link(self.terms.len() - 1);
        Eliminated { variable, others, cheapest }
    }
}

/// Calls `see` with every labelling of variables of these sizes, the last one moving fastest.
fn each_labelling(sizes: &[usize], mut see: impl FnMut(&[usize])) {
    let count: usize = sizes.iter().product();
    let mut labels = vec![0; sizes.len()];
    for _ in 0..count {
        see(&labels);
        for (label, size) in labels.iter_mut().zip(sizes).rev() {
            *label += 1;
            if *label < *size {
                break;
            }
            *label = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use sinter_testkit::Random;

    use super::*;

    /// Random terms over up to three variables each, compared with all labellings.
    #[test]
    fn as_cheap_as_brute_force() {
        let mut random = Random(1);
        let mut draw = |bound: usize| random.below(bound);
        for index in 0..200 {
            let mut problem = Labelling::default();
            let count = 1 + draw(7);
            let sizes: Vec<usize> = (0..count).map(|_| 1 + draw(4)).collect();
            sizes.iter().for_each(|size| _ = problem.variable(*size));
            let mut tables: Vec<(Vec<usize>, usize)> = Vec::new();
            for _ in 0..draw(10) {
                let mut variables: Vec<usize> = (0..1 + draw(3)).map(|_| draw(count)).collect();
                variables.sort_unstable();
                variables.dedup();
                tables.push((variables, draw(1000)));
            }
            let cost = |seed: usize, labels: &[usize]| {
                let mixed = labels.iter().fold(seed, |mixed, label| mixed * 31 + label * 7);
                if mixed % 11 == 0 { NEVER } else { (mixed * 7919 % 101) as i64 }
            };
            tables.iter().for_each(|(variables, seed)| problem.term(variables, |labels| cost(*seed, labels)));
            let total = |labels: &[usize]| {
                let of = |(variables, seed): &(Vec<usize>, usize)| {
                    let own: Vec<usize> = variables.iter().map(|&variable| labels[variable]).collect();
                    cost(*seed, &own)
                };
                tables.iter().map(of).sum::<i64>()
            };
            let found = problem.solve(usize::MAX).expect("no bound");
            let mut least = i64::MAX;
            each_labelling(&sizes, |labels| least = least.min(total(labels)));
            let same = total(&found) == least || total(&found).min(least) >= NEVER;
            assert!(same, "problem {index}: {found:?} costs {}, the least is {least}", total(&found));
        }
    }

    #[test]
    fn long_chains_need_small_tables_and_tangles_are_left() {
        let mut chain = Labelling::default();
        let variables: Vec<usize> = (0..500).map(|_| chain.variable(4)).collect();
        for pair in variables.windows(2) {
            chain.term(pair, |labels| i64::from(labels[0] == labels[1]));
        }
        let labels = chain.solve(16).expect("tables of pairs");
        assert!(labels.windows(2).all(|pair| pair[0] != pair[1]));
        let mut tangle = Labelling::default();
        let variables: Vec<usize> = (0..12).map(|_| tangle.variable(2)).collect();
        for a in &variables {
            for b in variables.iter().filter(|b| *b > a) {
                tangle.term(&[*a, *b], |labels| i64::from(labels[0] == labels[1]));
            }
        }
        assert!(tangle.clone().solve(1 << 11).is_none() && tangle.solve(1 << 12).is_some());
    }
}
