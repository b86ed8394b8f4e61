//! The layout of every region: the cheapest labels, transpositions between them included.

use std::cell::RefCell;
use std::collections::HashMap;

use sinter_backend::Region;
use sinter_base::ValueType;
use sinter_ops::ValueId;
use sinter_ops::movement::Transpose;
use sinter_ops::operator::count_of;

use crate::cover::Problem;
use crate::cover::alternatives::{Alternative, Form, Served, type_in};
use crate::cover::cut::{Cut, NEVER};
use crate::select::select;

/// Nanoseconds that any step costs.
const STEP: f64 = 1000.0;
/// Nanoseconds per byte that a transposition reads and writes.
const PER_BYTE: f64 = 0.3;

fn transposition(problem: &Problem<'_>, ty: &ValueType) -> i64 {
    if let Some(time) = measured(problem, ty) {
        return scaled(time);
    }
    let elements = problem.evidence.sizes().evaluate(&count_of(ty)).unwrap_or(0);
    let bytes = elements as f64 * 2.0 * ty.data_type().bits() as f64 / 8.0;
    scaled(STEP + bytes * PER_BYTE)
}

/// The time of bringing the channels of a value last, when the build is tuned and there is one; the way back takes as
/// long.
fn measured(problem: &Problem<'_>, ty: &ValueType) -> Option<f64> {
    if !problem.evidence.is_by_times() {
        return None;
    }
    let rank = ty.as_tensor()?.dims().ok()?.len();
    let moved = type_in(ty, Form::ChannelsLast(rank))?;
    let region = Region::single(Transpose::to_channels_last(rank).into(), &[Some(ty.clone())], vec![moved]);
    let choice = select(&region, problem.back_end, problem.device, problem.evidence).ok()?;
    Some(choice.candidate.estimate)
}

/// Costs as integers, in picoseconds.
fn scaled(nanoseconds: f64) -> i64 {
    (nanoseconds * 1000.0).clamp(0.0, (NEVER / 1024) as f64) as i64
}

/// Chooses layouts for groups of one problem.
pub(crate) struct Layouts<'a> {
    problem: &'a Problem<'a>,
    /// Costs of transpositions that were asked for.
    known: RefCell<HashMap<ValueId, i64>>,
}

/// What layouts of some groups cost, in picoseconds.
pub(crate) struct Prices {
    /// Of each group: plain, and channels last.
    pub(crate) own: Vec<(i64, i64)>,
    /// What two groups cost when their layouts differ.
    pub(crate) between: Vec<(usize, usize, i64)>,
}

impl Prices {
    /// What everything costs with these layouts.
    pub(crate) fn of(&self, labels: &[bool]) -> i64 {
        let own = self.own.iter().zip(labels).map(|((plain, last), is_last)| if *is_last { *last } else { *plain });
        let moved = self.between.iter().filter(|(a, b, _)| labels[*a] != labels[*b]).map(|pair| pair.2);
        own.chain(moved).fold(0, i64::saturating_add)
    }

    /// The cheapest layouts; for each group: channels last?
    pub(crate) fn labels(&self) -> Vec<bool> {
        let mut cut = Cut::new(self.own.len());
        self.between.iter().for_each(|&(a, b, cost)| cut.pair(a, b, cost));
        for (index, (plain, last)) in self.own.iter().enumerate() {
            cut.unary(index, *plain, *last);
        }
        cut.solve()
    }
}

impl<'a> Layouts<'a> {
    pub(crate) fn of(problem: &'a Problem<'a>) -> Self {
        Self { problem, known: RefCell::default() }
    }

    fn transposition(&self, id: ValueId) -> i64 {
        let known = self.known.borrow().get(&id).copied();
        known.unwrap_or_else(|| {
            let cost = transposition(self.problem, self.problem.body.ty(id));
            self.known.borrow_mut().insert(id, cost);
            cost
        })
    }

    /// What layouts of these groups cost, which together are all living nodes.
    pub(crate) fn prices(&self, served: &[&Served]) -> Prices {
        let (problem, body) = (self.problem, self.problem.body);
        let mut between: Vec<(usize, usize, i64)> = Vec::new();
        let mut maker: HashMap<ValueId, usize> = HashMap::new();
        // What reading a value in another layout than it has costs whoever makes it: nothing is cheaper than nothing.
        let mut own: Vec<(i64, i64)> = Vec::new();
        for (index, Served { results, plain, last, .. }) in served.iter().enumerate() {
            let cost = |a: &Option<Alternative>| a.as_ref().map_or(NEVER, |a| scaled(a.choice.candidate.estimate));
            let is_control = plain.is_none() && last.is_none();
            own.push((if is_control { 0 } else { cost(plain) }, cost(last)));
            for id in results {
                maker.insert(*id, index);
            }
        }
        for id in body.outputs() {
            if let Some(&index) = maker.get(id) {
                own[index].1 = own[index].1.saturating_add(self.transposition(*id));
            }
        }
        for (index, Served { group, plain, last, .. }) in served.iter().enumerate() {
            let reads = |a: &Option<Alternative>| -> Vec<(ValueId, Form)> {
                a.as_ref().map(|a| a.inputs.iter().flatten().copied().collect()).unwrap_or_default()
            };
            let (plain_reads, last_reads) = (reads(plain), reads(last));
            let any: Vec<ValueId> = match (plain_reads.is_empty(), last_reads.is_empty()) {
                (false, _) => plain_reads.iter().map(|r| r.0).collect(),
                (true, false) => last_reads.iter().map(|r| r.0).collect(),
                (true, true) => body.nodes()[group.node()].inputs.iter().flatten().copied().collect(),
            };
            for id in any {
                if (problem.weight)(id).is_some() {
                    continue;
                }
                let cost = self.transposition(id);
                let wants_last = last_reads.iter().any(|r| r.0 == id && r.1 != Form::Plain);
                match (maker.get(&id), wants_last) {
                    (Some(&from), true) => between.push((from, index, cost)),
                    (Some(&from), false) => own[from].1 = own[from].1.saturating_add(cost),
                    (None, true) => own[index].1 = own[index].1.saturating_add(cost),
                    (None, false) => {}
                }
            }
        }
        Prices { own, between }
    }
}
