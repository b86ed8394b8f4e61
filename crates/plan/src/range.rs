//! Ranges of named sizes, as the guards of a plan bound them.
//!
//! The guard `min(S, 512) == S` says that S is at most 512, `max(S, 8) == S` that it is at least 8.

use std::fmt;

use crate::plan::{Plan, PlanGuard};
use crate::shape_program::{Operation, Register, ShapeProgram};

/// Bounds of a named size, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// The size.
    pub symbol: String,
    /// Smallest value.
    pub low: i64,
    /// Largest value; `i64::MAX` where nothing bounds it.
    pub high: i64,
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (low, i64::MAX) => write!(f, "at least {low}"),
            (..=0, high) => write!(f, "at most {high}"),
            (low, high) if low == high => write!(f, "{low} only"),
            (low, high) => write!(f, "{low} to {high}"),
        }
    }
}

impl PlanGuard {
    /// The range to which this guard bounds a named size, if it is such a guard.
    pub fn range(&self, shapes: &ShapeProgram) -> Option<SizeRange> {
        let bound = |cut: Register, size: Register| {
            let symbol = shapes.symbol_of(size)?.to_owned();
            let (operation, a, b) = shapes.instruction_of(cut)?;
            let bound = match (a == size, b == size) {
                (true, false) => shapes.constant_of(b)?,
                (false, true) => shapes.constant_of(a)?,
                _ => return None,
            };
            match operation {
                Operation::Minimum => Some(SizeRange { symbol, low: 0, high: bound }),
                Operation::Maximum => Some(SizeRange { symbol, low: bound, high: i64::MAX }),
                _ => None,
            }
        };
        bound(self.left, self.right).or_else(|| bound(self.right, self.left))
    }
}

impl Plan {
    /// Ranges of the named sizes that guards bound, in the order of the first guard of each.
    pub fn ranges(&self) -> Vec<SizeRange> {
        let mut ranges: Vec<SizeRange> = Vec::new();
        for range in self.guards.iter().filter_map(|guard| guard.range(&self.shapes)) {
            match ranges.iter_mut().find(|known| known.symbol == range.symbol) {
                Some(known) => (known.low, known.high) = (known.low.max(range.low), known.high.min(range.high)),
                None => ranges.push(range),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::Dim;

    use super::*;
    use crate::shape_program::ShapeCompiler;

    #[test]
    fn guards_on_one_size_are_a_range() {
        let (n, s) = (Dim::symbol("N"), Dim::symbol("S"));
        let mut compiler = ShapeCompiler::default();
        let c = Dim::constant;
        let pairs = [
            (s.minimum(&c(512)), s.clone()),
            (s.clone(), s.maximum(&c(8))),
            (s.minimum(&c(600)), s.clone()),
            (n.clone(), s.clone()),
            (n.add(&c(1)), n.clone()),
        ];
        let slots = pairs.map(|(left, right)| (compiler.dim(&left), compiler.dim(&right)));
        let (shapes, register) = compiler.finish();
        let guard = |(left, right)| PlanGuard { left: register(left), right: register(right), reason: String::new() };
        let guards: Vec<PlanGuard> = slots.into_iter().map(guard).collect();
        let found: Vec<bool> = guards.iter().map(|guard| guard.range(&shapes).is_some()).collect();
        assert_eq!(found, [true, true, true, false, false]);
        let range = |low, high| SizeRange { symbol: "S".to_owned(), low, high };
        assert_eq!(guards[0].range(&shapes), Some(range(0, 512)));
        assert_eq!(guards[1].range(&shapes), Some(range(8, i64::MAX)));
        let texts = [range(0, 512), range(8, i64::MAX), range(8, 512), range(4, 4)].map(|range| range.to_string());
        assert_eq!(texts, ["at most 512", "at least 8", "8 to 512", "4 only"]);
    }
}
