//! The judge's answers for the network as imported, on given or made-up inputs.

use std::cell::OnceCell;
use std::collections::HashMap;

use sinter_base::Value;
use sinter_interp::{FastEvaluator, RunError, run_within};
use sinter_ir::Network;
use sinter_ops::{EvalContext, EvalError, Memory, Steps};

use crate::bound::check_judge;
use crate::made_up::{Refused, verified, verified_again};
use crate::parity::sensitivity::Noisy;
use crate::parity::{MOST_STEPS, Verify, judge};
use crate::sizes::SizeHints;

/// The judge's answers for the network as imported.
pub(crate) struct Answers {
    pub(crate) inputs: HashMap<String, Value>,
    pub(crate) outputs: Vec<Value>,
    /// The same on other inputs, where a body may run another number of times.
    pub(crate) again: Option<Box<Answers>>,
    /// What the judge may take.
    pub(crate) memory: Memory,
    /// The same with rounding errors, once somebody asked.
    rounded: OnceCell<Vec<Vec<Value>>>,
}

impl Answers {
    /// Runs the judge on the network as imported.
    ///
    /// # Errors
    /// The judge's.
    pub(crate) fn of(imported: &Network, inputs: HashMap<String, Value>, memory: Memory) -> Result<Self, RunError> {
        let steps = Steps::of(MOST_STEPS);
        let cx = EvalContext { steps: Some(&steps), ..judge(&FastEvaluator, memory) };
        let outputs = run_within(imported, &inputs, &cx)?;
        Ok(Self { inputs, outputs, again: None, memory, rounded: OnceCell::new() })
    }

    /// The outputs when every float result on the way is moved by what rounding may move it, a few times.
    pub(crate) fn rounded(&self, imported: &Network) -> &[Vec<Value>] {
        let run = |noisy: &Noisy| run_within(imported, &self.inputs, &judge(noisy, self.memory)).ok();
        self.rounded.get_or_init(|| Noisy::RUNS.iter().filter_map(run).collect())
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
        check_judge(network, &inputs, max_memory).map_err(|e| Refused::TooLarge(e.to_string()))?;
        Answers::of(network, inputs, Memory::of(max_memory)).map_err(|error| match error {
            RunError::Eval(EvalError::Memory { .. } | EvalError::Steps { .. }) => Refused::TooLarge(error.to_string()),
            other => Refused::Here(other.to_string()),
        })
    };
    match verify {
        Verify::Off => Err("verification is off".to_owned()),
        Verify::Given(inputs) => run(inputs.clone()).map_err(Refused::reason),
        Verify::Generated => {
            let mut answers = verified(network, hints, run)?;
            if network.body.nodes().iter().any(|node| !node.op.bodies().is_empty()) {
                answers.again = verified_again(network, hints, &answers.inputs, run).map(Box::new);
            }
            Ok(answers)
        }
    }
}
