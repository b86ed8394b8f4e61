//! Solves the conditions of a network for its dynamic dimensions.
//!
//! A condition states that two expressions of sizes are equal. Trying sizes solves a condition with a single dynamic
//! dimension: often only one size is left, such as that of a reshape to constants. Conditions with several dimensions,
//! as where past and new tokens add up to all tokens, are solved by trying their sizes together.

use std::collections::{BTreeMap, BTreeSet};

use sinter_base::Dim;
use sinter_ir::Network;

use crate::sizes::SizeHints;

/// Sizes to try for one name alone.
const MOST: i64 = 1 << 16;
/// Sizes to try for several names together, beside the preferred ones.
const MOST_TOGETHER: i64 = 64;
/// Limit on all attempts for several names together.
const MOST_ATTEMPTS: usize = 20_000;

/// The conditions, by the names of their dynamic dimensions.
pub(crate) struct RequiredSizes {
    alone: BTreeMap<String, Vec<(Dim, Dim)>>,
    together: Vec<(BTreeSet<String>, Dim, Dim)>,
}

impl RequiredSizes {
    /// The conditions of a network, within the user's ranges.
    pub(crate) fn of(network: &Network, hints: &SizeHints) -> Self {
        let (mut alone, mut together): (BTreeMap<String, Vec<(Dim, Dim)>>, _) = (BTreeMap::new(), Vec::new());
        let of_network = network.guards.iter().map(|guard| (guard.left.clone(), guard.right.clone()));
        for (left, right) in of_network.chain(hints.guards().map(|(left, right, _)| (left, right))) {
            let mut names = BTreeSet::new();
            left.visit_symbols(&mut |name| _ = names.insert(name.to_owned()));
            right.visit_symbols(&mut |name| _ = names.insert(name.to_owned()));
            match (names.len(), names.first()) {
                (_, None) => {}
                (1, Some(name)) => alone.entry(name.clone()).or_default().push((left, right)),
                _ => together.push((names, left, right)),
            }
        }
        Self { alone, together }
    }

    /// The size itself when it meets all conditions on it alone, else the smallest larger one that does, else the
    /// smallest one.
    pub(crate) fn near(&self, name: &str, size: i64) -> i64 {
        if !self.alone.contains_key(name) {
            return size;
        }
        (size..=MOST).chain(1..size).find(|size| self.takes(name, *size)).unwrap_or(size)
    }

    fn takes(&self, name: &str, size: i64) -> bool {
        let conditions = self.alone.get(name).into_iter().flatten();
        conditions.into_iter().all(|(left, right)| holds(left, right, &|_| Some(size)))
    }

    /// Sizes for all these names that meet the conditions on several of them: the preferred ones where possible, then
    /// different sizes rather than equal ones. The preferred ones where none meet the conditions.
    pub(crate) fn all_near(&self, names: &[&str], size_of: &dyn Fn(&str) -> i64) -> BTreeMap<String, i64> {
        let preferred: BTreeMap<String, i64> =
            names.iter().map(|name| ((*name).to_owned(), self.near(name, size_of(name)))).collect();
        let mut found = BTreeMap::new();
        if self.together.is_empty() || !self.search(names, &preferred, &mut found, &mut 0) { preferred } else { found }
    }

    fn search(
        &self,
        names: &[&str],
        preferred: &BTreeMap<String, i64>,
        found: &mut BTreeMap<String, i64>,
        attempts: &mut usize,
    ) -> bool {
        let Some((name, later)) = names.split_first() else { return true };
        let own = preferred.get(*name).copied().unwrap_or(1);
        let is_free = !self.together.iter().any(|(names, ..)| names.contains(*name));
        let used: BTreeSet<i64> = found.values().copied().collect();
        let (again, others): (Vec<i64>, Vec<i64>) = (1..=MOST_TOGETHER).partition(|size| used.contains(size));
        let others = others.into_iter().chain(again).filter(|size| !is_free && *size != own && self.takes(name, *size));
        for size in std::iter::once(own).chain(others) {
            *attempts += 1;
            if *attempts > MOST_ATTEMPTS {
                return false;
            }
            found.insert((*name).to_owned(), size);
            let value = |name: &str| found.get(name).copied();
            let is_decided = |names: &BTreeSet<String>| names.iter().all(|name| found.contains_key(name));
            let own = self.together.iter().filter(|(names, ..)| names.contains(*name) && is_decided(names));
            let fits = own.into_iter().all(|(_, left, right)| holds(left, right, &value));
            if fits && self.search(later, preferred, found, attempts) {
                return true;
            }
            found.remove(*name);
        }
        false
    }
}

/// A condition on sizes that cannot be evaluated does not hold.
fn holds(left: &Dim, right: &Dim, size_of: &dyn Fn(&str) -> Option<i64>) -> bool {
    left.evaluate(size_of).is_some_and(|left| Some(left) == right.evaluate(size_of))
}

#[cfg(test)]
mod tests {
    use sinter_base::{DataType, Location, Tensor, ValueType};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::movement::Reshape;

    use super::*;

    #[test]
    fn conditions_of_one_size_are_solved() {
        let mut m = NetworkBuilder::new();
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("n"), 4i64.into()]);
        let x = m.add_network_input("x", x, None);
        let shape = m.add_weight("shape", Tensor::of_i64(&[791, 12]));
        let y = m.add(Reshape::default(), &[Some(x), Some(shape)], &Location::default()).unwrap()[0];
        let required = RequiredSizes::of(&m.finish("n", &[("y".into(), y)]), &SizeHints::default());
        assert_eq!([1, 3, 2373, 5000].map(|size| required.near("n", size)), [2373; 4]);
        assert_eq!(required.near("m", 7), 7);
    }

    #[test]
    fn conditions_of_several_sizes_are_solved_together() {
        let sizes = |conditions: &[(Dim, Dim)], names: &[&str]| {
            let mut m = NetworkBuilder::new();
            let dims = names.iter().map(|name| Dim::symbol(name)).collect();
            let x = m.add_network_input("x", ValueType::tensor(DataType::F32, dims), None);
            let mut network = m.finish("n", &[("y".into(), x)]);
            network.guards.extend(conditions.iter().map(|(left, right)| sinter_ops::Guard {
                left: left.clone(),
                right: right.clone(),
                reason: String::new(),
            }));
            let preferred = |name: &str| 5 + 2 * names.iter().position(|known| *known == name).unwrap() as i64;
            let found = RequiredSizes::of(&network, &SizeHints::default()).all_near(names, &preferred);
            names.iter().map(|name| found[*name]).collect::<Vec<_>>()
        };
        let [a, b, c] = ["a", "b", "c"].map(Dim::symbol);
        assert_eq!(sizes(&[], &["a", "b", "c"]), [5, 7, 9], "the preferred ones");
        assert_eq!(sizes(&[(a.clone(), b.clone())], &["a", "b", "c"]), [5, 5, 9], "only required sizes are equal");
        assert_eq!(sizes(&[(c.clone(), a.add(&b))], &["a", "b", "c"]), [5, 7, 12]);
        assert_eq!(sizes(&[(a.clone(), b.add(&c))], &["a", "b", "c"]), [5, 1, 4], "whatever the order");
        assert_eq!(sizes(&[(a.clone(), a.add(&b))], &["a", "b"]), [5, 7], "where nothing helps");
    }
}
