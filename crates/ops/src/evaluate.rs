//! Evaluation of bodies with values.

use sinter_base::Value;

use crate::body::Body;
use crate::catalog::Op;
use crate::error::EvalError;
use crate::operands::Arguments;

/// Computes one operator. The judge has a plain one ([`ReferenceEvaluator`]) and a fast one.
pub trait Evaluator: Sync {
    /// The results of `op` on `inputs`.
    ///
    /// # Errors
    /// As the operator's reference.
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError>;

    /// Told of every run of a body, before its first node.
    fn enters(&self, body: &Body, inputs: &[Option<Value>]) {
        let _ = (body, inputs);
    }
}

/// Calls `reference` and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceEvaluator;

impl Evaluator for ReferenceEvaluator {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        op.reference(inputs, cx)
    }
}

/// What an evaluation knows beside its inputs.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// Evaluates the nodes of bodies that control flow owns.
    pub evaluator: &'a dyn Evaluator,
    /// Seed of the whole run, for random operators without a seed of their own.
    pub seed: u64,
    /// Number of the iteration of the loops around, mixed into random streams so that each draws different numbers.
    pub iteration: u64,
}

impl<'a> EvalContext<'a> {
    /// A context with seed 0.
    pub fn new(evaluator: &'a dyn Evaluator) -> Self {
        Self { evaluator, seed: 0, iteration: 0 }
    }
}

impl Body {
    /// The outputs for these inputs; each value is dropped after its last use.
    ///
    /// # Errors
    /// The first failing node's error.
    pub fn evaluate(&self, inputs: Vec<Option<Value>>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.evaluate_with(inputs, cx, &mut |_, _| {})
    }

    /// As [`Body::evaluate`], showing every node's results to `observe` (node index, results).
    ///
    /// # Errors
    /// The first failing node's error.
    pub fn evaluate_with(
        &self,
        inputs: Vec<Option<Value>>,
        cx: &EvalContext<'_>,
        observe: &mut dyn FnMut(usize, &[Value]),
    ) -> Result<Vec<Value>, EvalError> {
        if inputs.len() != self.inputs().len() {
            return Err(EvalError::Invalid(format!("{} inputs for a body of {}", inputs.len(), self.inputs().len())));
        }
        cx.evaluator.enters(self, &inputs);
        let last_use = self.last_uses();
        let mut values: Vec<Option<Value>> = vec![None; self.value_count()];
        for (&id, value) in self.inputs().iter().zip(inputs) {
            values[id.index()] = value;
        }
        for (position, node) in self.nodes().iter().enumerate() {
            let arguments: Vec<Option<Value>> = node
                .inputs
                .iter()
                .map(|input| {
                    let id = (*input)?;
                    // The last reader takes the value, so that large tensors are freed as early as possible.
                    let last = last_use[id.index()] == Some(position);
                    let again = node.inputs.iter().filter(|other| **other == Some(id)).count() > 1;
                    if last && !again { values[id.index()].take() } else { values[id.index()].clone() }
                })
                .collect();
            let results = cx
                .evaluator
                .evaluate(&node.op, &Arguments::new(&arguments), cx)
                .map_err(|e| EvalError::Invalid(format!("{}: {e}", node.op.name())))?;
            observe(position, &results);
            for (id, value) in node.outputs.iter().zip(results) {
                values[id.index()] = Some(value);
            }
        }
        let missing = || EvalError::Invalid("an output of the body was never computed".to_owned());
        self.outputs().iter().map(|id| values[id.index()].clone().ok_or_else(missing)).collect()
    }
}
