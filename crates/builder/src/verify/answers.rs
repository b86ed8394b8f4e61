//! The judge's answers for the network as imported, on given or made-up inputs.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use sinter_base::Value;
use sinter_interp::{FastEvaluator, RunError, run_within};
use sinter_ir::Network;
use sinter_ops::{EvalContext, EvalError, Evaluator, Memory, Steps};

use crate::memory_budget::check_judge;
use crate::sizes::SizeHints;
use crate::verify::forced::{Forced, Recorder};
use crate::verify::sensitivity::Noise;
use crate::verify::synthetic::{Refused, verified, verified_again};
use crate::verify::{FEW_STEPS, MOST_STEPS, Verify, judge};

/// The judge's answers for the network as imported.
pub(crate) struct Answers {
    pub(crate) inputs: HashMap<String, Value>,
    pub(crate) outputs: Vec<Value>,
    /// Why there are no outputs: a loop takes longer than anybody waits. What comes before it is known all the same, and
    /// what it does in its first iterations.
    pub(crate) unfinished: Option<String>,
    /// The same on other inputs, where a body may run another number of times.
    pub(crate) again: Option<Box<Answers>>,
    /// The same at sizes of each further profile, or why there are none.
    pub(crate) of_profiles: Vec<Result<Answers, String>>,
    /// What the judge may take.
    pub(crate) memory: Memory,
    /// The same with rounding errors, once somebody asked.
    rounded: OnceCell<Vec<Vec<Value>>>,
    /// What discrete operators decided, once somebody asked.
    decisions: OnceCell<Option<Forced>>,
}

impl Answers {
    fn with(inputs: HashMap<String, Value>, outputs: Vec<Value>, unfinished: Option<String>, memory: Memory) -> Self {
        let (rounded, decisions) = (OnceCell::new(), OnceCell::new());
        Self { inputs, outputs, unfinished, again: None, of_profiles: Vec::new(), memory, rounded, decisions }
    }

    /// Runs the judge on the network as imported.
    ///
    /// # Errors
    /// The judge's.
    pub(crate) fn of(imported: &Network, inputs: HashMap<String, Value>, memory: Memory) -> Result<Self, RunError> {
        let steps = Steps::of(MOST_STEPS);
        let cx = EvalContext { steps: Some(&steps), ..judge(&FastEvaluator, memory) };
        let outputs = run_within(imported, &inputs, &cx)?;
        Ok(Self::with(inputs, outputs, None, memory))
    }

    /// Operators that the judge runs at most, once more: rounding may let loops run longer; one that has no end needs not be
    /// followed as far again.
    pub(crate) fn most_steps(&self) -> u64 {
        if self.unfinished.is_some() { FEW_STEPS } else { 2 * MOST_STEPS }
    }

    /// Runs a network that was made of this one on the same inputs.
    ///
    /// # Errors
    /// The judge's.
    pub(crate) fn run(&self, network: &Network, evaluator: &dyn Evaluator) -> Result<Vec<Value>, String> {
        let steps = Steps::of(self.most_steps());
        let cx = EvalContext { steps: Some(&steps), ..judge(evaluator, self.memory) };
        run_within(network, &self.inputs, &cx).map_err(|e| e.to_string())
    }

    /// The outputs when every float result on the way is moved by what rounding may move it, a few times.
    pub(crate) fn rounded(&self, imported: &Network) -> &[Vec<Value>] {
        let run = |noise: &Noise| self.run(imported, &noise.on(&FastEvaluator)).ok();
        self.rounded.get_or_init(|| Noise::RUNS.iter().filter_map(run).collect())
    }

    /// The judge that decides as it did for the network as imported.
    pub(crate) fn forced(&self, imported: &Network) -> Option<&Forced> {
        let run = || {
            let recorder = Recorder::default();
            self.run(imported, &recorder).is_ok().then(|| recorder.forced())
        };
        self.decisions.get_or_init(run).as_ref().map(Forced::again)
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
    let memory = Memory::of(max_memory);
    // The first inputs that take too long: something can be verified with them.
    let unfinished = RefCell::new(None);
    let run = |inputs: HashMap<String, Value>| {
        check_judge(network, &inputs, max_memory).map_err(|e| Refused::TooLarge(e.to_string()))?;
        Answers::of(network, inputs.clone(), memory).map_err(|error| match error {
            RunError::Eval(EvalError::Steps { .. }) => {
                unfinished.borrow_mut().get_or_insert((inputs, error.to_string()));
                Refused::TooLarge(error.to_string())
            }
            RunError::Eval(EvalError::Memory { .. }) => Refused::TooLarge(error.to_string()),
            other => Refused::Here(other.to_string()),
        })
    };
    let answers = match verify {
        Verify::Off => Err("verification is off".to_owned()),
        Verify::Given(inputs) => run(inputs.clone()).map_err(Refused::reason),
        Verify::Generated => verified(network, hints, run).map(|mut answers| {
            if network.body.nodes().iter().any(|node| !node.op.bodies().is_empty()) {
                answers.again = verified_again(network, hints, &answers.inputs, run).map(Box::new);
            }
            answers
        }),
    };
    match (answers, unfinished.into_inner()) {
        (Err(_), Some((inputs, reason))) => Ok(Answers::with(inputs, Vec::new(), Some(reason), memory)),
        (answers, _) => answers,
    }
}
