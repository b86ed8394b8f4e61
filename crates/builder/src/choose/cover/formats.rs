//! The formats in which regions read and write: chooses the cheapest alternatives, including conversions between
//! formats.
//!
//! Each group has alternatives, which differ in the formats of operands and results. A value is converted once for each
//! format, however many regions read it. So for each value and format that some alternative may read there is a term
//! over its maker and a variable that tells whether any reader needs the conversion, which follows from the readers one
//! by one. The terms hardly interact, and elimination finds the cheapest labels exactly. Where they do, expansions find
//! good ones: in each, any groups may change to their alternative of index n, and a minimum cut finds the cheapest such
//! change (Boykov, Veksler, Zabih 2001); changes of single groups follow.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use sinter_ops::ValueId;

use crate::choose::cover::alternatives::ScoredGroup;
use crate::choose::cover::conversions::{Format, conversion_region};
use crate::choose::cover::cut::{Cut, NEVER};
use crate::choose::cover::eliminate::Labelling;
use crate::choose::cover::islands::{Islands, copy_time};
use crate::choose::cover::problem::Problem;
use crate::choose::cover::repeated::Repeated;
use crate::choose::select::select;

/// Limit on the entries of a table of an elimination.
const MOST_ENTRIES: usize = 1 << 14;

/// Costs as integers, in picoseconds.
pub(crate) fn scaled(nanoseconds: f64) -> i64 {
    (nanoseconds * 1000.0).clamp(0.0, (NEVER / 1024) as f64) as i64
}

/// Chooses formats for groups of one problem.
pub(crate) struct Formats<'a> {
    problem: &'a Problem<'a>,
    islands: &'a Islands,
    /// Costs of conversions that were queried.
    known: RefCell<HashMap<(ValueId, Format), i64>>,
}

/// A value in a format that a group may read, with the conversion's cost in picoseconds; groups and alternatives by
/// index.
struct Conversion {
    /// The group that makes the value, with the alternatives that make it in this format; `Err` for a value that exists
    /// before, in this format or not.
    maker: Result<(usize, Vec<bool>), bool>,
    /// Groups that may read it in this format, with the alternatives that do.
    readers: Vec<(usize, Vec<bool>)>,
    /// Is it always read in this format?
    always: bool,
    cost: i64,
}

/// Costs of the alternatives of some groups, in picoseconds.
pub(crate) struct Prices {
    /// By group and alternative.
    own: Vec<Vec<i64>>,
    conversions: Vec<Conversion>,
    /// By group: conversions that depend on its alternative.
    touching: Vec<Vec<usize>>,
}

impl Conversion {
    /// The cost with these alternatives.
    fn cost(&self, labels: &[usize]) -> i64 {
        let exists = match &self.maker {
            Ok((maker, makes)) => makes[labels[*maker]],
            Err(exists) => *exists,
        };
        let is_needed = || self.always || self.readers.iter().any(|(reader, reads)| reads[labels[*reader]]);
        if exists || !is_needed() { 0 } else { self.cost }
    }
}

impl Prices {
    fn new(own: Vec<Vec<i64>>, conversions: Vec<Conversion>) -> Self {
        let mut touching = vec![Vec::new(); own.len()];
        for (position, Conversion { maker, readers, .. }) in conversions.iter().enumerate() {
            let groups = maker.iter().map(|(maker, _)| *maker).chain(readers.iter().map(|(reader, _)| *reader));
            groups.for_each(|group| touching[group].push(position));
        }
        Self { own, conversions, touching }
    }

    /// The total cost with these alternatives.
    pub(crate) fn of(&self, labels: &[usize]) -> i64 {
        let own = self.own.iter().zip(labels).map(|(costs, label)| costs[*label]);
        let moved = self.conversions.iter().map(|conversion| conversion.cost(labels));
        own.chain(moved).fold(0, i64::saturating_add)
    }

    /// Number of alternatives of each group.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.own.iter().map(Vec::len).collect()
    }

    /// The cheapest alternative of each group.
    pub(crate) fn labels(&self) -> Vec<usize> {
        self.eliminated(MOST_ENTRIES).unwrap_or_else(|| self.expanded())
    }

    /// The cheapest labels; `None` where tables would be larger than `most`.
    fn eliminated(&self, most: usize) -> Option<Vec<usize>> {
        let mut problem = Labelling::default();
        for costs in &self.own {
            let group = problem.variable(costs.len());
            problem.term(&[group], |labels| costs[labels[0]]);
        }
        for conversion in &self.conversions {
            let Conversion { maker, readers, always, cost } = conversion;
            // Does any reader so far need the conversion?
            let mut needed = None;
            for (reader, reads) in readers.iter().filter(|_| !always) {
                let next = problem.variable(2);
                match needed {
                    None => problem.term(&[*reader, next], |labels| follows(reads[labels[0]], labels[1])),
                    Some(before) => problem.term(&[before, *reader, next], |labels| {
                        follows(labels[0] == 1 || reads[labels[1]], labels[2])
                    }),
                }
                needed = Some(next);
            }
            match (maker, needed) {
                (Err(true), _) => {}
                (Err(false), Some(needed)) => problem.term(&[needed], |labels| labels[0] as i64 * cost),
                (Ok((maker, makes)), Some(needed)) => problem
                    .term(&[*maker, needed], |labels| if labels[1] == 1 && !makes[labels[0]] { *cost } else { 0 }),
                (Ok((maker, makes)), None) if *always => {
                    problem.term(&[*maker], |labels| if makes[labels[0]] { 0 } else { *cost });
                }
                (Ok(_) | Err(false), None) => {}
            }
        }
        let mut labels = problem.solve(most)?;
        labels.truncate(self.own.len());
        Some(labels)
    }

    /// Good labels, by expansions.
    fn expanded(&self) -> Vec<usize> {
        let cheapest = |costs: &Vec<i64>| (0..costs.len()).min_by_key(|&label| costs[label]).unwrap_or(0);
        let mut best = vec![0; self.own.len()];
        let greedy: Vec<usize> = self.own.iter().map(cheapest).collect();
        if self.of(&greedy) < self.of(&best) {
            best = greedy;
        }
        let most = self.own.iter().map(Vec::len).max().unwrap_or(0);
        loop {
            let mut gains = false;
            for alternative in 0..most {
                let other = self.expansion(&best, alternative);
                if self.of(&other) < self.of(&best) {
                    (best, gains) = (other, true);
                }
            }
            gains |= self.improve_singly(&mut best);
            if !gains {
                return best;
            }
        }
    }

    /// Changes single groups while that lowers the cost; true if any changed.
    fn improve_singly(&self, labels: &mut [usize]) -> bool {
        let mut gains = false;
        for group in 0..self.own.len() {
            let cost = |labels: &[usize]| {
                let moved = self.touching[group].iter().map(|&position| self.conversions[position].cost(labels));
                moved.fold(self.own[group][labels[group]], i64::saturating_add)
            };
            let mut least = cost(labels);
            for label in 0..self.own[group].len() {
                let before = std::mem::replace(&mut labels[group], label);
                let own = cost(labels);
                if own < least {
                    (least, gains) = (own, true);
                } else {
                    labels[group] = before;
                }
            }
        }
        gains
    }

    /// The labels after the cheapest change of any groups to one alternative. Where readers need a value for different
    /// reasons, the cut counts its conversion for each reason.
    fn expansion(&self, labels: &[usize], alternative: usize) -> Vec<usize> {
        let groups = self.own.len();
        let changed = |group: usize| if alternative < self.own[group].len() { alternative } else { labels[group] };
        // For each conversion two vertices: readers that change need it, readers that stay need it.
        let mut cut = Cut::new(groups + 2 * self.conversions.len());
        for (group, costs) in self.own.iter().enumerate() {
            cut.unary(group, costs[labels[group]], costs[changed(group)]);
        }
        for (position, Conversion { maker, readers, always, cost }) in self.conversions.iter().enumerate() {
            // The first is true where a reader changes and then needs it; the second is false where one stays and needs
            // it.
            let (by_change, by_rest) = (groups + 2 * position, groups + 2 * position + 1);
            let (mut any_change, mut any_rest, mut is_needed) = (false, false, *always);
            for (reader, reads) in readers {
                match (reads[labels[*reader]], reads[changed(*reader)]) {
                    (true, true) => is_needed = true,
                    (false, true) => {
                        cut.implies(*reader, by_change, NEVER);
                        any_change = true;
                    }
                    (true, false) => {
                        cut.implies(by_rest, *reader, NEVER);
                        any_rest = true;
                    }
                    (false, false) => {}
                }
            }
            let makes = match maker {
                Ok((maker, makes)) => Some((*maker, makes[labels[*maker]], makes[changed(*maker)])),
                Err(exists) => Some((usize::MAX, *exists, *exists)),
            };
            let Some((maker, before, after)) = makes else { continue };
            if is_needed && maker != usize::MAX {
                cut.unary(maker, if before { 0 } else { *cost }, if after { 0 } else { *cost });
            }
            if is_needed {
                continue;
            }
            match (before, after) {
                (true, true) => {}
                (false, false) => {
                    if any_change {
                        cut.unary(by_change, 0, *cost);
                    }
                    if any_rest {
                        cut.unary(by_rest, *cost, 0);
                    }
                }
                // The value exists in this format where the maker changes.
                (false, true) => {
                    if any_change {
                        cut.implies(by_change, maker, *cost);
                    }
                    if any_rest {
                        cut.unary(maker, *cost, 0);
                    }
                }
                // The value exists in this format where the maker stays.
                (true, false) => {
                    if any_rest {
                        cut.implies(maker, by_rest, *cost);
                    }
                    if any_change {
                        cut.unary(maker, 0, *cost);
                    }
                }
            }
        }
        let moves = cut.solve();
        (0..groups).map(|group| if moves[group] { changed(group) } else { labels[group] }).collect()
    }
}

/// A table that costs nothing where the label matches.
fn follows(is_so: bool, label: usize) -> i64 {
    if is_so == (label == 1) { 0 } else { NEVER }
}

impl<'a> Formats<'a> {
    pub(crate) fn of(problem: &'a Problem<'a>, islands: &'a Islands) -> Self {
        Self { problem, islands, known: RefCell::default() }
    }

    /// The cost of converting a value into a format, by the estimates of the back end's own kernels.
    fn conversion(&self, id: ValueId, format: Format) -> i64 {
        if let Some(known) = self.known.borrow().get(&(id, format)) {
            return *known;
        }
        let cost = if format == Format::Island || format == Format::Plain && self.islands.is_native(id) {
            scaled(copy_time(self.problem, id))
        } else {
            let candidate = conversion_region(self.problem, id, format).and_then(|region| {
                let Problem { back_end, target, database, .. } = self.problem;
                select(&region, *back_end, target, database).ok()
            });
            candidate.map_or(NEVER / 1024, |candidate| scaled(candidate.estimate))
        };
        self.known.borrow_mut().insert((id, format), cost);
        cost
    }

    /// The costs of the alternatives of these groups, which together contain all living nodes.
    pub(crate) fn prices(&self, scored: &[&ScoredGroup]) -> Prices {
        let (problem, body) = (self.problem, self.problem.body);
        let repeated = Repeated::of(problem, scored.iter().copied());
        let mut makers: HashMap<ValueId, (usize, usize)> = HashMap::new();
        let mut own: Vec<Vec<i64>> = Vec::new();
        for (index, scored) in scored.iter().enumerate() {
            let costs: Vec<i64> = scored.alternatives.iter().map(|a| scaled(a.cost())).collect();
            if repeated.has(scored) || costs.is_empty() {
                // An earlier group makes the same value, or this is control flow, which always runs.
                own.push(vec![0]);
            } else {
                own.push(costs);
            }
            if !repeated.has(scored) {
                scored.results.iter().enumerate().for_each(|(at, id)| _ = makers.insert(*id, (index, at)));
            }
        }
        // By value and format: the groups and their alternatives that read it so.
        let mut reads: BTreeMap<(ValueId, Format), BTreeMap<usize, BTreeSet<usize>>> = BTreeMap::new();
        let mut always: BTreeSet<(ValueId, Format)> = BTreeSet::new();
        for (index, scored) in scored.iter().enumerate().filter(|(_, scored)| !repeated.has(scored)) {
            for (position, alternative) in scored.alternatives.iter().enumerate() {
                for (id, format) in alternative.inputs.iter().flatten() {
                    let id = repeated.value(*id);
                    if problem.weight(id).is_some() || *format == Format::Island && (problem.is_known)(id) {
                        continue;
                    }
                    let mut read =
                        |format| _ = reads.entry((id, format)).or_default().entry(index).or_default().insert(position);
                    read(*format);
                    // A copy between devices has plain format on both sides.
                    if (*format == Format::Island) != self.islands.is_native(id) {
                        read(Format::Plain);
                    }
                }
            }
            if scored.alternatives.is_empty() {
                let inputs = body.nodes()[scored.group.node()].inputs.iter().flatten();
                let inputs = inputs.map(|id| repeated.value(*id)).filter(|id| problem.weight(*id).is_none());
                always.extend(inputs.map(|id| (id, Format::Plain)));
            }
        }
        always.extend(body.outputs().iter().map(|id| (*id, self.islands.result_format(problem, *id))));
        always.iter().for_each(|key| _ = reads.entry(*key).or_default());
        let mut conversions = Vec::new();
        for ((id, format), readers) in reads {
            let maker = match makers.get(&id) {
                None => Err(format == if self.islands.is_native(id) { Format::Island } else { Format::Plain }),
                Some(&(maker, at)) => {
                    let alternatives = &scored[maker].alternatives;
                    let makes: Vec<bool> = alternatives.iter().map(|a| a.results[at] == format).collect();
                    if makes.is_empty() { Err(format == Format::Plain) } else { Ok((maker, makes)) }
                }
            };
            let exists_always = match &maker {
                Ok((_, makes)) => makes.iter().all(|makes| *makes),
                Err(exists) => *exists,
            };
            if exists_always {
                continue;
            }
            let of = |(reader, alternatives): (usize, BTreeSet<usize>)| {
                (reader, (0..own[reader].len()).map(|position| alternatives.contains(&position)).collect::<Vec<bool>>())
            };
            let readers: Vec<(usize, Vec<bool>)> = readers.into_iter().map(of).collect();
            let is_read = |(_, reads): &(usize, Vec<bool>)| reads.iter().all(|reads| *reads);
            let always = always.contains(&(id, format)) || readers.iter().any(is_read);
            conversions.push(Conversion { maker, readers, always, cost: self.conversion(id, format) });
        }
        Prices::new(own, conversions)
    }
}

#[cfg(test)]
mod tests {
    use sinter_testkit::Random;

    use super::*;

    /// Random prices: elimination is exact, and expansions are close to it and never cheaper.
    #[test]
    fn formats_are_the_cheapest() {
        let mut random = Random(3);
        let mut draw = |bound: usize| random.below(bound);
        let (mut least_of_all, mut expanded_of_all) = (0, 0);
        for position in 0..200 {
            let groups = 1 + draw(7);
            let own: Vec<Vec<i64>> =
                (0..groups).map(|_| (0..1 + draw(4)).map(|_| draw(100) as i64).collect()).collect();
            let mut flags = |group: usize| (0..own[group].len()).map(|_| draw(2) == 1).collect::<Vec<bool>>();
            let mut conversions = Vec::new();
            for maker in 0..groups {
                for _ in 0..2 {
                    let makes = flags(maker);
                    let readers = (maker + 1..groups).map(|reader| (reader, flags(reader))).collect::<Vec<_>>();
                    conversions.push((maker, makes, readers));
                }
            }
            let conversions = conversions.into_iter().map(|(maker, makes, readers)| {
                let readers = readers.into_iter().filter(|_| draw(2) == 1).collect();
                let maker = if draw(5) == 0 { Err(draw(2) == 1) } else { Ok((maker, makes)) };
                Conversion { maker, readers, always: draw(6) == 0, cost: draw(60) as i64 }
            });
            let prices = Prices::new(own.clone(), conversions.collect());
            let mut labels = vec![0; groups];
            let mut least = i64::MAX;
            loop {
                least = least.min(prices.of(&labels));
                let next = (0..groups).rev().find(|&group| labels[group] + 1 < prices.own[group].len());
                let Some(next) = next else { break };
                labels[next] += 1;
                labels[next + 1..].fill(0);
            }
            let exact = prices.eliminated(usize::MAX).expect("no bound");
            assert_eq!(prices.of(&exact), least, "prices {position}");
            let expanded = prices.of(&prices.expanded());
            assert!(expanded >= least, "prices {position}");
            least_of_all += least;
            expanded_of_all += expanded;
        }
        assert!(expanded_of_all * 100 <= least_of_all * 103, "{expanded_of_all} against {least_of_all}");
    }
}
