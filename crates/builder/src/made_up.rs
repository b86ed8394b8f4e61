//! Inputs when the user has none: sizes are tried until the network takes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sinter_base::{Tensor, Value};
use sinter_interp::inputs::{FreeSizes, batches, check, generate_at, sizes_of};
use sinter_ir::Network;

use crate::sizes::SizeHints;
use crate::wanted::Wanted;

const fn free(batch: i64, other: i64) -> FreeSizes {
    FreeSizes { batch, other }
}

/// Sizes for verification: 3 shows what a batch of one hides. Some networks want as many of one as of the other.
const TO_VERIFY: &[FreeSizes] = &[
    free(3, 3),
    free(1, 1),
    free(3, 8),
    free(8, 8),
    free(3, 16),
    free(16, 16),
    free(2, 64),
    free(64, 64),
    free(1, 128),
    free(128, 128),
    free(1, 256),
    free(1, 512),
    free(1, 1024),
    free(1024, 1024),
    free(1, 16_000),
];
/// Sizes beside a batch of one: some networks want a certain length, or a multiple of one.
const LENGTHS: &[i64] = &[8, 16, 64, 128, 256, 512, 1024, 16_000];
/// Elements from which on an input is large.
const LARGE: usize = 1 << 16;

/// Batches of one, as long as it takes.
fn alone() -> impl Iterator<Item = FreeSizes> {
    LENGTHS.iter().map(|length| free(1, *length))
}

/// Inputs that are not taken, and why.
pub(crate) enum Refused {
    /// Others may be.
    Here(String),
    /// Larger ones will not be either: they need no less memory and no fewer steps.
    TooLarge(String),
}

impl Refused {
    pub(crate) fn reason(self) -> String {
        match self {
            Refused::Here(reason) | Refused::TooLarge(reason) => reason,
        }
    }
}

/// Makes inputs up.
struct Maker<'a> {
    network: &'a Network,
    hints: &'a SizeHints,
    wanted: Wanted,
    batches: BTreeSet<String>,
}

impl<'a> Maker<'a> {
    fn new(network: &'a Network, hints: &'a SizeHints) -> Self {
        Self { network, hints, wanted: Wanted::of(network, hints), batches: batches(network) }
    }

    /// Inputs of these sizes, or of sizes near them that the network's conditions leave.
    fn inputs(&self, free: FreeSizes) -> Result<HashMap<String, Value>, String> {
        let near = |name: &str| self.hints.near(name, free.of(name, &self.batches));
        let inputs = generate_at(self.network, &|name| self.wanted.near(name, near(name)))?;
        check(self.network, &inputs)?;
        Ok(inputs)
    }

    /// The first inputs that pass, or why the last ones do not.
    fn first<T>(
        &self,
        sizes: impl IntoIterator<Item = FreeSizes>,
        mut passes: impl FnMut(HashMap<String, Value>) -> Result<T, Refused>,
    ) -> Result<T, String> {
        let (mut last, mut too_large) = (String::new(), Vec::new());
        for free in sizes {
            let inputs = match self.inputs(free) {
                Ok(inputs) => inputs,
                Err(reason) => {
                    last = reason;
                    continue;
                }
            };
            let sizes = sizes_of(self.network, &inputs);
            let is_larger =
                |than: &BTreeMap<String, i64>| than.iter().all(|(name, size)| sizes.get(name) >= Some(size));
            if too_large.iter().any(is_larger) {
                continue;
            }
            match passes(inputs) {
                Ok(found) => return Ok(found),
                Err(Refused::Here(reason)) => last = reason,
                Err(Refused::TooLarge(reason)) => {
                    too_large.push(sizes);
                    last = reason;
                }
            }
        }
        Err(last)
    }
}

/// What the judge says to the first inputs that it takes.
///
/// # Errors
/// Why it takes none: the reason for the last ones.
pub(crate) fn verified<T>(
    network: &Network,
    hints: &SizeHints,
    judge: impl FnMut(HashMap<String, Value>) -> Result<T, Refused>,
) -> Result<T, String> {
    let maker = Maker::new(network, hints);
    let count = |value: &Value| value.as_tensor().map_or(0, Tensor::count);
    let is_large = |inputs: HashMap<String, Value>| inputs.values().any(|value| count(value) >= LARGE);
    if maker.inputs(FreeSizes::all(1)).is_ok_and(is_large) {
        // These are not made three times as large: other batches are tried kernel by kernel.
        return maker.first([1, 2, 3].map(FreeSizes::all).into_iter().chain(alone()), judge);
    }
    maker.first(TO_VERIFY.iter().copied(), judge)
}

/// Inputs to measure a network with: batches of one, and the smallest sizes else that the network takes, as far as shape
/// inference says.
///
/// # Errors
/// Why there are none: an input that cannot be made up, or what refuses the last sizes that were tried.
pub fn to_measure(network: &Network) -> Result<HashMap<String, Value>, String> {
    let sizes = [1].map(FreeSizes::all).into_iter().chain(alone()).chain([8, 64].map(FreeSizes::all));
    Maker::new(network, &SizeHints::default()).first(sizes, Ok)
}

#[cfg(test)]
mod tests {
    use sinter_base::{DataType, Dim, Location, ValueType};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::pointwise::{Expr, ScalarOp};

    use super::*;

    /// -x for x of these sizes.
    fn negated(dims: Vec<Dim>) -> Network {
        let mut builder = NetworkBuilder::new();
        let x = builder.add_network_input("x", ValueType::tensor(DataType::F32, dims), None);
        let op = Expr::into_pointwise(&[Expr::input(0, DataType::F32).unary(ScalarOp::Neg)]).unwrap();
        let y = builder.add(op, &[Some(x)], &Location::default()).unwrap()[0];
        builder.finish("negated", &[("y".to_owned(), y)])
    }

    /// The sizes that are tried where those of more than so many elements are too large.
    fn tried(network: &Network, allowed: usize) -> Vec<Vec<usize>> {
        let mut tried = Vec::new();
        let _ = verified(network, &SizeHints::default(), |inputs| {
            let x = inputs["x"].as_tensor().unwrap();
            tried.push(x.sizes().to_vec());
            if x.count() > allowed { Err(Refused::TooLarge(String::new())) } else { Ok(()) }
        });
        tried
    }

    #[test]
    fn where_some_are_too_large_smaller_ones_are_tried() {
        let open = negated(vec![Dim::symbol("N"), 5i64.into()]);
        assert_eq!(tried(&open, 15), [[3, 5]]);
        assert_eq!(tried(&open, 5), [[3, 5], [1, 5]]);
        assert_eq!(tried(&open, 4), [[3, 5], [1, 5]], "nothing is smaller");
        assert_eq!(tried(&negated(vec![5i64.into()]), 4), [[5]], "nothing is open");
    }
}
