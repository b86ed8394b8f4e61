//! The dynamic dimensions of a problem, and the sizes that kernels are chosen for.

use std::collections::BTreeMap;

use sinter_base::Dim;

/// Default for a dynamic dimension without an optimum.
pub const TYPICAL_SIZE: i64 = 64;

/// The optimum of each dynamic dimension, by name. The builder chooses kernels, layouts and memory for these sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizing {
    optimum: BTreeMap<String, i64>,
    typical: i64,
}

impl Default for Sizing {
    fn default() -> Self {
        Self::new(BTreeMap::new(), TYPICAL_SIZE)
    }
}

impl Sizing {
    /// Optima by name; `typical` is the default for other names.
    pub fn new(optimum: BTreeMap<String, i64>, typical: i64) -> Self {
        Self { optimum, typical }
    }

    /// The size that kernels are chosen for.
    pub fn optimum(&self, name: &str) -> i64 {
        self.optimum.get(name).copied().unwrap_or(self.typical)
    }

    /// The value of a dimension at the optima; `None` where it has none, as for a division by zero.
    pub fn evaluate(&self, dim: &Dim) -> Option<i64> {
        dim.evaluate(&|name| Some(self.optimum(name)))
    }
}
