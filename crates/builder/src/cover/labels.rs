//! The layout of every region: the cheapest labels, conversions between layouts included.
//!
//! A value is converted once, however many regions read it in the other layout. So each value that some region may read in
//! another layout has two more vertices in the cut: one says that a copy with channels last is needed, one that a plain copy
//! is not.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use sinter_backend::Region;
use sinter_base::Dim;
use sinter_ops::ValueId;
use sinter_ops::movement::Transpose;

use crate::cover::Problem;
use crate::cover::alternatives::{Alternative, Form, Served, type_in};
use crate::cover::cut::{Cut, NEVER};
use crate::cover::repeated::Repeated;
use crate::select::select;

/// Costs as integers, in picoseconds.
pub(crate) fn scaled(nanoseconds: f64) -> i64 {
    (nanoseconds * 1000.0).clamp(0.0, (NEVER / 1024) as f64) as i64
}

/// Chooses layouts for groups of one problem.
pub(crate) struct Layouts<'a> {
    problem: &'a Problem<'a>,
    /// Costs of conversions that were asked for.
    known: RefCell<HashMap<(ValueId, Form), i64>>,
}

/// What converting one value costs, in picoseconds; groups by their index.
#[derive(Default)]
struct Conversion {
    /// The group that makes it; none for what is given plain.
    maker: Option<usize>,
    /// Groups that read it with channels last, when they compute so.
    last_readers: Vec<usize>,
    /// Groups that read it plain, when they compute plain.
    plain_readers: Vec<usize>,
    /// Is it read plain in any case?
    always_plain: bool,
    to_last: i64,
    to_plain: i64,
}

/// What layouts of some groups cost, in picoseconds.
pub(crate) struct Prices {
    /// Of each group: plain, and channels last.
    own: Vec<(i64, i64)>,
    conversions: Vec<Conversion>,
}

impl Conversion {
    /// What it costs with these labels: channels last?
    fn cost(&self, labels: &[bool]) -> i64 {
        let is_last = self.maker.is_some_and(|maker| labels[maker]);
        let wants_last = || self.last_readers.iter().any(|&reader| labels[reader]);
        let wants_plain = || self.always_plain || self.plain_readers.iter().any(|&reader| !labels[reader]);
        match is_last {
            true if wants_plain() => self.to_plain,
            false if wants_last() => self.to_last,
            _ => 0,
        }
    }
}

impl Prices {
    /// What everything costs with these layouts.
    pub(crate) fn of(&self, labels: &[bool]) -> i64 {
        let own = self.own.iter().zip(labels).map(|((plain, last), is_last)| if *is_last { *last } else { *plain });
        let moved = self.conversions.iter().map(|conversion| conversion.cost(labels));
        own.chain(moved).fold(0, i64::saturating_add)
    }

    /// The cheapest layouts; for each group: channels last?
    pub(crate) fn labels(&self) -> Vec<bool> {
        let groups = self.own.len();
        let mut cut = Cut::new(groups + 2 * self.conversions.len());
        for (index, (plain, last)) in self.own.iter().enumerate() {
            cut.unary(index, *plain, *last);
        }
        for (index, conversion) in self.conversions.iter().enumerate() {
            let (needs_last, needs_no_plain) = (groups + 2 * index, groups + 2 * index + 1);
            conversion.last_readers.iter().for_each(|&reader| cut.implies(reader, needs_last, NEVER));
            match conversion.maker {
                Some(maker) => cut.implies(needs_last, maker, conversion.to_last),
                None => cut.unary(needs_last, 0, conversion.to_last),
            }
            let Some(maker) = conversion.maker else { continue };
            conversion.plain_readers.iter().for_each(|&reader| cut.implies(needs_no_plain, reader, NEVER));
            if conversion.always_plain {
                cut.unary(needs_no_plain, 0, NEVER);
            }
            cut.implies(maker, needs_no_plain, conversion.to_plain);
        }
        let mut labels = cut.solve();
        labels.truncate(groups);
        labels
    }
}

impl<'a> Layouts<'a> {
    pub(crate) fn of(problem: &'a Problem<'a>) -> Self {
        Self { problem, known: RefCell::default() }
    }

    /// What it costs to bring a value into a form, as the back end's own kernels for transpositions say.
    fn conversion(&self, id: ValueId, form: Form) -> i64 {
        if let Some(known) = self.known.borrow().get(&(id, form)) {
            return *known;
        }
        let cost = conversion_region(self.problem, id, form)
            .and_then(|region| {
                let Problem { back_end, target, evidence, .. } = self.problem;
                select(&region, *back_end, target, evidence).ok()
            })
            .map_or(NEVER / 1024, |candidate| scaled(candidate.estimate));
        self.known.borrow_mut().insert((id, form), cost);
        cost
    }

    /// What layouts of these groups cost, which together are all living nodes.
    pub(crate) fn prices(&self, served: &[&Served]) -> Prices {
        let (problem, body) = (self.problem, self.problem.body);
        let mut maker: HashMap<ValueId, usize> = HashMap::new();
        let mut own: Vec<(i64, i64)> = Vec::new();
        let repeated = Repeated::of(problem, served.iter().copied());
        for (index, group) in served.iter().enumerate() {
            let Served { results, plain, last, .. } = group;
            if repeated.has(group) {
                own.push((0, NEVER));
                continue;
            }
            let cost = |a: &Option<Alternative>| a.as_ref().map_or(NEVER, |a| scaled(a.choice.estimate));
            let is_control = plain.is_none() && last.is_none();
            own.push((if is_control { 0 } else { cost(plain) }, cost(last)));
            results.iter().for_each(|id| _ = maker.insert(*id, index));
        }
        let mut conversions: BTreeMap<ValueId, Conversion> = BTreeMap::new();
        for (index, Served { group, plain, last, .. }) in served.iter().enumerate() {
            if repeated.has(served[index]) {
                continue;
            }
            let mut of = |id: ValueId, note: &dyn Fn(&mut Conversion)| {
                let id = repeated.value(id);
                if problem.weight(id).is_none() {
                    note(conversions.entry(id).or_default());
                }
            };
            for (id, form) in last.iter().flat_map(|last| last.inputs.iter().flatten()) {
                match form {
                    Form::ChannelsLast(_) => of(*id, &|conversion| conversion.last_readers.push(index)),
                    // Read plain with either label: in the plain alternative every operand is plain.
                    Form::Plain => of(*id, &|conversion| conversion.always_plain = true),
                }
            }
            for (id, _) in plain.iter().flat_map(|plain| plain.inputs.iter().flatten()) {
                of(*id, &|conversion| conversion.plain_readers.push(index));
            }
            if plain.is_none() && last.is_none() {
                let inputs = body.nodes()[group.node()].inputs.iter().flatten();
                inputs.for_each(|id| of(*id, &|conversion| conversion.always_plain = true));
            }
        }
        for id in body.outputs() {
            conversions.entry(*id).or_default().always_plain = true;
        }
        let may_be_last = |index: &usize| served[*index].last.is_some();
        let mut priced = Vec::new();
        for (id, mut conversion) in conversions {
            conversion.maker = maker.get(&id).copied();
            let is_moved = !conversion.last_readers.is_empty() || conversion.maker.as_ref().is_some_and(may_be_last);
            let rank = body.ty(id).as_tensor().and_then(|ty| ty.dims().ok()).map(<[Dim]>::len);
            let Some(rank) = rank.filter(|_| is_moved) else { continue };
            if !conversion.last_readers.is_empty() {
                conversion.to_last = self.conversion(id, Form::ChannelsLast(rank));
            }
            if conversion.maker.as_ref().is_some_and(may_be_last) {
                conversion.to_plain = self.conversion(id, Form::Plain);
            }
            priced.push(conversion);
        }
        Prices { own, conversions: priced }
    }
}

/// The region that brings a value into a form, from the other one.
pub(crate) fn conversion_region(problem: &Problem<'_>, id: ValueId, form: Form) -> Option<Region> {
    let plain = problem.body.ty(id);
    let rank = plain.as_tensor()?.dims().ok()?.len();
    let last = type_in(plain, Form::ChannelsLast(rank))?;
    let (op, from, to) = match form {
        Form::Plain => (Transpose::to_channels_first(rank), last, plain.clone()),
        Form::ChannelsLast(_) => (Transpose::to_channels_last(rank), plain.clone(), last),
    };
    Some(Region::single(op.into(), &[Some(from)], vec![to]))
}
