//! The judge's answers for the network as imported, on given or made-up inputs.

use std::cell::OnceCell;
use std::collections::HashMap;

use sinter_base::{Tensor, Value};
use sinter_interp::inputs::{FreeSizes, batches, generate_at};
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::Network;

use crate::bound::check_judge;
use crate::parity::Verify;
use crate::parity::sensitivity::Noisy;
use crate::sizes::SizeHints;

const fn free(batch: i64, other: i64) -> FreeSizes {
    FreeSizes { batch, other }
}

/// Sizes that are tried for dimensions that nothing pins, until the network takes them: 3 shows what a batch of one hides.
/// Some networks want as many of one as of the other.
const FREE_SIZES: &[FreeSizes] = &[
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
    free(1, 1024),
    free(1024, 1024),
    free(1, 16_000),
];
/// The same for large inputs, which are not made three times as large: other batches are tried kernel by kernel.
const FREE_SIZES_OF_LARGE: &[FreeSizes] = &[
    free(1, 1),
    free(2, 2),
    free(3, 3),
    free(1, 8),
    free(1, 16),
    free(1, 64),
    free(1, 128),
    free(1, 1024),
    free(1, 16_000),
];
/// Elements from which on an input is large.
const LARGE: usize = 1 << 16;

/// The judge's answers for the network as imported.
pub(crate) struct Answers {
    pub(crate) inputs: HashMap<String, Value>,
    pub(crate) outputs: Vec<Value>,
    /// The same with rounding errors, once somebody asked.
    rounded: OnceCell<Option<Vec<Value>>>,
}

impl Answers {
    /// Runs the judge on the network as imported.
    ///
    /// # Errors
    /// The judge's.
    pub(crate) fn of(imported: &Network, inputs: HashMap<String, Value>) -> Result<Self, String> {
        let outputs = run_with(imported, &inputs, &FastEvaluator).map_err(|e| e.to_string())?;
        Ok(Self { inputs, outputs, rounded: OnceCell::new() })
    }

    /// The outputs when every float result on the way is moved by what rounding may move it.
    pub(crate) fn rounded(&self, imported: &Network) -> Option<&[Value]> {
        self.rounded.get_or_init(|| run_with(imported, &self.inputs, &Noisy).ok()).as_deref()
    }
}

/// Runs the judge on the network as imported.
///
/// # Errors
/// Why there are no answers.
pub(crate) fn answers(
    network: &Network,
    verify: &Verify,
    hints: &SizeHints,
    max_memory: u64,
) -> Result<Answers, String> {
    let run = |inputs: HashMap<String, Value>| {
        check_judge(network, &inputs, max_memory).map_err(|e| e.to_string())?;
        Answers::of(network, inputs)
    };
    match verify {
        Verify::Off => Err("verification is off".to_owned()),
        Verify::Given(inputs) => run(inputs.clone()),
        Verify::Generated => {
            let mut first = None;
            let elements = |values: &HashMap<String, Value>| -> usize {
                values.values().filter_map(Value::as_tensor).map(Tensor::count).max().unwrap_or(0)
            };
            let batches = batches(network);
            let made_up = |free: FreeSizes| generate_at(network, &|name| hints.near(name, free.of(name, &batches)));
            let is_large = made_up(FreeSizes::all(1)).is_ok_and(|values| elements(&values) >= LARGE);
            for free in if is_large { FREE_SIZES_OF_LARGE } else { FREE_SIZES } {
                match made_up(*free).and_then(run) {
                    Ok(answers) => return Ok(answers),
                    Err(reason) => {
                        first.get_or_insert(reason);
                    }
                }
            }
            Err(first.unwrap_or_default())
        }
    }
}
