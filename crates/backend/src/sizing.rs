//! The dynamic dimensions of a problem: which sizes kernels are chosen for.

use std::collections::BTreeMap;

use sinter_base::Dim;

/// Default for a dynamic dimension without an optimum.
pub const TYPICAL_SIZE: i64 = 64;

/// The optimum of each dynamic dimension, by name. Everything is chosen for these sizes: kernels, layouts, memory.
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
    /// Optima by name; `typical` stands in for names without one.
    pub fn new(optimum: BTreeMap<String, i64>, typical: i64) -> Self {
        Self { optimum, typical }
    }

    /// The size that kernels are chosen for.
    pub fn optimum(&self, name: &str) -> i64 {
        self.optimum.get(name).copied().unwrap_or(self.typical)
    }

    /// What a dimension is at the optima; `None` for a division by zero and the like.
    pub fn evaluate(&self, dim: &Dim) -> Option<i64> {
        dim.evaluate(&|name| Some(self.optimum(name)))
    }
}
