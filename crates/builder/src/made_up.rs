//! Inputs when the user has none: sizes are tried until the network takes them.

use std::collections::{BTreeSet, HashMap};

use sinter_base::{Tensor, Value};
use sinter_interp::inputs::{FreeSizes, batches, check, generate_at};
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
/// The same for large inputs, which are not made three times as large: other batches are tried kernel by kernel.
const TO_VERIFY_LARGE: &[FreeSizes] = &[
    free(1, 1),
    free(2, 2),
    free(3, 3),
    free(1, 8),
    free(1, 16),
    free(1, 64),
    free(1, 128),
    free(1, 256),
    free(1, 512),
    free(1, 1024),
    free(1, 16_000),
];
/// Sizes for measurement: batches of one, as long as it takes.
const TO_MEASURE: &[FreeSizes] = &[
    free(1, 1),
    free(1, 8),
    free(1, 16),
    free(1, 64),
    free(1, 128),
    free(1, 256),
    free(1, 512),
    free(1, 1024),
    free(1, 16_000),
    free(8, 8),
    free(64, 64),
];
/// Elements from which on an input is large.
const LARGE: usize = 1 << 16;

/// Inputs that are not taken, and why.
pub(crate) enum Refused {
    /// Others may be.
    Here(String),
    /// Others will not be: larger ones need no less memory.
    Everywhere(String),
}

impl Refused {
    pub(crate) fn reason(self) -> String {
        match self {
            Refused::Here(reason) | Refused::Everywhere(reason) => reason,
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
        sizes: &[FreeSizes],
        mut passes: impl FnMut(HashMap<String, Value>) -> Result<T, Refused>,
    ) -> Result<T, String> {
        let mut last = String::new();
        for free in sizes {
            match self.inputs(*free).map_err(Refused::Here).and_then(&mut passes) {
                Ok(found) => return Ok(found),
                Err(Refused::Here(reason)) => last = reason,
                Err(Refused::Everywhere(reason)) => return Err(reason),
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
    let sizes = if maker.inputs(FreeSizes::all(1)).is_ok_and(is_large) { TO_VERIFY_LARGE } else { TO_VERIFY };
    maker.first(sizes, judge)
}

/// Inputs to measure a network with: batches of one, and the smallest sizes else that the network takes, as far as shape
/// inference says.
///
/// # Errors
/// Why there are none: an input that cannot be made up, or what refuses the last sizes that were tried.
pub fn to_measure(network: &Network) -> Result<HashMap<String, Value>, String> {
    Maker::new(network, &SizeHints::default()).first(TO_MEASURE, Ok)
}
