//! The reference executor's results for the imported network, on given or synthetic inputs.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use sinter_base::Value;
use sinter_interp::{FastEvaluator, RunError, run_within};
use sinter_ir::Network;
use sinter_ops::{EvalContext, EvalError, Evaluator, Memory, Steps};

use crate::memory_budget::check_reference;
use crate::sizes::SizeHints;
use crate::verify::forced::{Forced, Recorder};
use crate::verify::noise::Noise;
use crate::verify::reference::{FEW_STEPS, MOST_STEPS, Verify, reference_context};
use crate::verify::synthetic::{Refused, verified, verified_again};

/// The reference executor's results for the imported network.
pub(crate) struct Answers {
    pub(crate) inputs: HashMap<String, Value>,
    pub(crate) outputs: Vec<Value>,
    /// Why there are no outputs: a loop runs longer than the limit on steps. Values before the loop are known all the
    /// same, and so are its first iterations.
    pub(crate) unfinished: Option<String>,
    /// The results on other inputs, where a body may run another number of times.
    pub(crate) again: Option<Box<Answers>>,
    /// The results at sizes of each further profile, or why there are none.
    pub(crate) of_profiles: Vec<Result<Answers, String>>,
    /// The memory that the reference executor may use.
    pub(crate) memory: Memory,
    /// The outputs with rounding errors, computed on first use.
    rounded: OnceCell<Vec<Vec<Value>>>,
    /// The decisions of discrete operators, computed on first use.
    decisions: OnceCell<Option<Forced>>,
}

impl Answers {
    fn with(inputs: HashMap<String, Value>, outputs: Vec<Value>, unfinished: Option<String>, memory: Memory) -> Self {
        let (rounded, decisions) = (OnceCell::new(), OnceCell::new());
        Self { inputs, outputs, unfinished, again: None, of_profiles: Vec::new(), memory, rounded, decisions }
    }

    /// Runs the reference executor on the imported network.
    ///
    /// # Errors
    /// Errors of the reference executor.
    pub(crate) fn of(imported: &Network, inputs: HashMap<String, Value>, memory: Memory) -> Result<Self, RunError> {
        let steps = Steps::of(MOST_STEPS);
        let cx = EvalContext { steps: Some(&steps), ..reference_context(&FastEvaluator, memory) };
        let outputs = run_within(imported, &inputs, &cx)?;
        Ok(Self::with(inputs, outputs, None, memory))
    }

    /// These results, those on other inputs, and those at sizes of further profiles.
    pub(crate) fn all(&self) -> Vec<&Self> {
        let profiles = self.of_profiles.iter().filter_map(|answers| answers.as_ref().ok());
        [self].into_iter().chain(self.again.as_deref()).chain(profiles).collect()
    }

    /// The results of a network with the same inputs and outputs, on the same inputs.
    ///
    /// # Errors
    /// Errors of the reference executor.
    pub(crate) fn of_derived(&self, network: &Network) -> Result<Self, String> {
        let outputs = match self.unfinished {
            Some(_) => Vec::new(),
            None => self.run(network, &FastEvaluator)?,
        };
        let derived = |answers: &Self| answers.of_derived(network);
        let again = self.again.as_deref().map(derived).transpose()?.map(Box::new);
        let of_profiles =
            self.of_profiles.iter().map(|answers| answers.as_ref().map_err(Clone::clone).and_then(derived)).collect();
        let own = Self::with(self.inputs.clone(), outputs, self.unfinished.clone(), self.memory);
        Ok(Self { again, of_profiles, ..own })
    }

    /// The limit on operators that the reference executor runs once more: rounding may let loops run longer; an endless
    /// loop is not followed as far again.
    pub(crate) fn most_steps(&self) -> u64 {
        if self.unfinished.is_some() { FEW_STEPS } else { 2 * MOST_STEPS }
    }

    /// Runs a network that was derived from this one on the same inputs.
    ///
    /// # Errors
    /// Errors of the reference executor.
    pub(crate) fn run(&self, network: &Network, evaluator: &dyn Evaluator) -> Result<Vec<Value>, String> {
        let steps = Steps::of(self.most_steps());
        let cx = EvalContext { steps: Some(&steps), ..reference_context(evaluator, self.memory) };
        run_within(network, &self.inputs, &cx).map_err(|e| e.to_string())
    }

    /// The outputs of a few runs in which every intermediate float is perturbed within rounding.
    pub(crate) fn rounded(&self, imported: &Network) -> &[Vec<Value>] {
        let run = |noise: Noise| self.run(imported, &noise.on(&FastEvaluator)).ok();
        self.rounded.get_or_init(|| Noise::round(0).filter_map(run).collect())
    }

    /// A reference executor that repeats the decisions made for the imported network.
    pub(crate) fn forced(&self, imported: &Network) -> Option<&Forced> {
        let run = || {
            let recorder = Recorder::default();
            self.run(imported, &recorder).is_ok().then(|| recorder.forced())
        };
        self.decisions.get_or_init(run).as_ref().map(Forced::again)
    }
}

/// Runs the reference executor on the imported network.
///
/// # Errors
/// Why there are no results.
pub(crate) fn answers(
    network: &Network,
    verify: &Verify,
    hints: &SizeHints,
    max_memory: u64,
) -> Result<Answers, String> {
    let memory = Memory::of(max_memory);
    // The first inputs that take too long still allow some verification.
    let unfinished = RefCell::new(None);
    let run = |inputs: HashMap<String, Value>| {
        check_reference(network, &inputs, max_memory).map_err(|e| Refused::TooLarge(e.to_string()))?;
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
