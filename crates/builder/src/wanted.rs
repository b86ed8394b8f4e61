//! Sizes that a network's own conditions leave for its free dimensions.
//!
//! A condition says that two expressions of sizes are equal. One that has a single free size in it is solved by trying:
//! what it leaves is often one size only, such as that of a reshape to constants.

use std::collections::{BTreeMap, BTreeSet};

use sinter_base::Dim;
use sinter_ir::Network;

use crate::sizes::SizeHints;

/// Sizes that are tried.
const MOST: i64 = 1 << 16;

/// The conditions that have one free size in them, by its name.
pub(crate) struct Wanted {
    conditions: BTreeMap<String, Vec<(Dim, Dim)>>,
}

impl Wanted {
    /// Of a network, within the ranges that the user knows.
    pub(crate) fn of(network: &Network, hints: &SizeHints) -> Self {
        let mut conditions: BTreeMap<String, Vec<(Dim, Dim)>> = BTreeMap::new();
        let of_network = network.guards.iter().map(|guard| (guard.left.clone(), guard.right.clone()));
        for (left, right) in of_network.chain(hints.guards().map(|(left, right, _)| (left, right))) {
            let mut names = BTreeSet::new();
            left.visit_symbols(&mut |name| _ = names.insert(name.to_owned()));
            right.visit_symbols(&mut |name| _ = names.insert(name.to_owned()));
            let (Some(name), true) = (names.pop_first(), names.is_empty()) else { continue };
            conditions.entry(name).or_default().push((left, right));
        }
        Self { conditions }
    }

    /// The size itself when it meets all conditions, else the smallest larger one that does, else the smallest one.
    pub(crate) fn near(&self, name: &str, size: i64) -> i64 {
        let Some(conditions) = self.conditions.get(name) else { return size };
        let holds = |size: &i64| {
            conditions.iter().all(|(left, right)| {
                let value = |dim: &Dim| dim.evaluate(&|_| Some(*size));
                value(left).is_some_and(|left| Some(left) == value(right))
            })
        };
        (size..=MOST).chain(1..size).find(holds).unwrap_or(size)
    }
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
        let wanted = Wanted::of(&m.finish("n", &[("y".into(), y)]), &SizeHints::default());
        assert_eq!([1, 3, 2373, 5000].map(|size| wanted.near("n", size)), [2373; 4]);
        assert_eq!(wanted.near("m", 7), 7);
    }
}
