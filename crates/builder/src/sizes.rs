//! The user's hints for dynamic dimensions: the range that the engine must accept, and the optimum, where it should be
//! fastest.

use std::collections::{BTreeMap, BTreeSet};

use sinter_base::{Dim, ValueType};
use sinter_ir::Network;

/// Hints for one named size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeHint {
    /// Smallest value; the engine refuses smaller ones.
    pub min: Option<i64>,
    /// The optimum: kernels are chosen and timed for it.
    pub opt: Option<i64>,
    /// Largest value; the engine refuses larger ones.
    pub max: Option<i64>,
}

/// Hints by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SizeHints(pub BTreeMap<String, SizeHint>);

impl SizeHints {
    /// The named size: `optimum`, unless that lies outside its range.
    pub fn near(&self, name: &str, optimum: i64) -> i64 {
        let hint = self.0.get(name).copied().unwrap_or_default();
        optimum.min(hint.max.unwrap_or(i64::MAX)).max(hint.min.unwrap_or(0))
    }

    /// The optimum, where it is known.
    pub fn opt(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.opt
    }

    /// The same hints, with these optima where the user names none.
    #[must_use]
    pub(crate) fn with_optimum(&self, sizes: BTreeMap<String, i64>) -> Self {
        let mut hints = self.clone();
        for (name, size) in sizes {
            hints.0.entry(name).or_default().opt.get_or_insert(size);
        }
        hints
    }

    /// The smallest range that contains the ranges of all profiles, with the optima of the first one; a size that a
    /// profile does not bound has no bound.
    pub fn hull(profiles: &[SizeHints]) -> SizeHints {
        let Some((first, others)) = profiles.split_first() else { return SizeHints::default() };
        let mut hull = first.clone();
        for (name, hint) in &mut hull.0 {
            for other in others {
                let other = other.0.get(name).copied().unwrap_or_default();
                hint.min = hint.min.zip(other.min).map(|(a, b)| a.min(b));
                hint.max = hint.max.zip(other.max).map(|(a, b)| a.max(b));
            }
        }
        for (name, hint) in others.iter().flat_map(|other| &other.0) {
            hull.0.entry(name.clone()).or_insert(SizeHint { opt: hint.opt, ..SizeHint::default() });
        }
        hull
    }

    /// The largest value, where it is known.
    pub fn max(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.max
    }

    /// The ranges as pairs of sizes that must be equal, each with a message for the case that they are not.
    pub(crate) fn guards(&self) -> impl Iterator<Item = (Dim, Dim, String)> + '_ {
        self.0.iter().flat_map(|(name, hint)| {
            let size = Dim::symbol(name);
            let low = hint.min.filter(|min| *min > 0).map(|min| (size.maximum(&min.into()), format!("at least {min}")));
            let high = hint.max.map(|max| (size.minimum(&max.into()), format!("at most {max}")));
            let guard = move |(cut, bound)| (cut, size.clone(), format!("the size '{name}' must be {bound}"));
            low.into_iter().chain(high).map(guard)
        })
    }
}

/// The sizes that the network's inputs name.
pub(crate) fn input_symbols(network: &Network) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for input in &network.inputs {
        if let ValueType::Tensor(ty) = network.body.ty(input.value) {
            names.extend(ty.dims().unwrap_or_default().iter().filter_map(|d| d.as_symbol().map(str::to_owned)));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_a_hull() {
        let profile =
            |name: &str, min, opt, max| SizeHints(BTreeMap::from([(name.to_owned(), SizeHint { min, opt, max })]));
        let some = |min, opt, max| profile("N", Some(min), Some(opt), Some(max));
        assert_eq!(SizeHints::hull(&[some(1, 1, 1), some(16, 32, 64)]), some(1, 1, 64));
        assert_eq!(
            SizeHints::hull(&[some(1, 1, 1), profile("N", Some(4), None, None)]),
            profile("N", Some(1), Some(1), None)
        );
        let both = SizeHints::hull(&[some(1, 1, 1), profile("S", Some(8), Some(9), Some(10))]);
        let (n, s) =
            (SizeHint { opt: Some(1), ..SizeHint::default() }, SizeHint { opt: Some(9), ..SizeHint::default() });
        assert_eq!(both, SizeHints(BTreeMap::from([("N".to_owned(), n), ("S".to_owned(), s)])));
        assert_eq!(SizeHints::hull(&[]), SizeHints::default());
    }

    #[test]
    fn ranges_become_guards() {
        let hint = SizeHint { min: Some(2), opt: Some(8), max: Some(64) };
        let hints = SizeHints(BTreeMap::from([("S".to_owned(), hint), ("N".to_owned(), SizeHint::default())]));
        assert_eq!([1, 3, 100].map(|optimum| hints.near("S", optimum)), [2, 3, 64]);
        assert_eq!((hints.near("N", 3), hints.opt("S"), hints.opt("N"), hints.max("S")), (3, Some(8), None, Some(64)));
        let given = BTreeMap::from([("N".to_owned(), 5), ("S".to_owned(), 5)]);
        let with = hints.with_optimum(given);
        assert_eq!((with.opt("N"), with.opt("S")), (Some(5), Some(8)), "the optimum of the user counts");
        let s = Dim::symbol("S");
        let found: Vec<(Dim, Dim)> = hints.guards().map(|(left, right, _)| (left, right)).collect();
        assert_eq!(found, [(s.maximum(&2i64.into()), s.clone()), (s.minimum(&64i64.into()), s)]);
    }
}
