//! Evaluation of bodies with values.

use sinter_base::{Value, ValueType};

use crate::body::{Body, Node};
use crate::catalog::Op;
use crate::error::EvalError;
use crate::infer::{InferContext, infer};
use crate::known::known_type;
use crate::memory::{Memory, Steps, bytes_of, working_bytes};
use crate::operands::{Arguments, Operands};

/// Computes one operator. The reference executor has a plain evaluator ([`ReferenceEvaluator`]) and a fast one.
pub trait Evaluator: Sync {
    /// The results of `op` on `inputs`.
    ///
    /// # Errors
    /// As the operator's reference.
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError>;

    /// An observer that is called before every run of a body.
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

/// The context of an evaluation.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// Evaluates the nodes of bodies that control flow owns.
    pub evaluator: &'a dyn Evaluator,
    /// Seed of the whole run, for random operators without a seed of their own.
    pub seed: u64,
    /// Iteration of the enclosing loops, mixed into random streams so that iterations draw different numbers.
    pub iteration: u64,
    /// The memory limit.
    pub memory: Memory,
    /// The step limit; `None` for no limit.
    pub steps: Option<&'a Steps>,
}

impl<'a> EvalContext<'a> {
    /// A context with seed 0.
    pub fn new(evaluator: &'a dyn Evaluator) -> Self {
        Self { evaluator, seed: 0, iteration: 0, memory: Memory::UNBOUNDED, steps: None }
    }

    /// The same context with so many more live bytes.
    #[must_use]
    pub fn holding(self, bytes: u64) -> Self {
        Self { memory: self.memory.holding(bytes), ..self }
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

    /// As [`Body::evaluate`], and calls `observe` with every node's index and results.
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
        // Bytes of live values that this evaluation computed; the caller owns the inputs.
        let mut alive = 0u64;
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
            let cx = cx.holding(alive);
            let within = |error| match error {
                EvalError::Memory { .. } | EvalError::Steps { .. } => error,
                other => EvalError::Invalid(format!("{}: {other}", node.op.name())),
            };
            check_bounds(node, &arguments, &cx)?;
            let results = cx.evaluator.evaluate(&node.op, &Arguments::new(&arguments), &cx).map_err(within)?;
            if cx.memory.is_bounded() {
                let taken = node.inputs.iter().zip(&arguments).filter(|(id, _)| {
                    id.is_some_and(|id| values[id.index()].is_none() && !self.inputs().contains(&id))
                });
                let taken = taken.filter_map(|(_, value)| value.as_ref()).map(bytes_of);
                alive = taken.fold(alive, u64::saturating_sub);
                alive = results.iter().map(bytes_of).fold(alive, u64::saturating_add);
            }
            observe(position, &results);
            for (id, value) in node.outputs.iter().zip(results) {
                values[id.index()] = Some(value);
            }
        }
        let missing = || EvalError::Invalid("an output of the body was never computed".to_owned());
        self.outputs().iter().map(|id| values[id.index()].clone().ok_or_else(missing)).collect()
    }
}

/// Arithmetic operations of an iteration that count as one operator more.
const OPERATIONS_OF_A_STEP: i64 = 1 << 15;

/// Checks the memory limit and the step limit for a node. The evaluations of nested bodies check the nodes of control
/// flow. Every node counts as one step; inside of loops, its arithmetic operations count as further steps, because a
/// loop may repeat them many times.
fn check_bounds(node: &Node, arguments: &[Option<Value>], cx: &EvalContext<'_>) -> Result<(), EvalError> {
    cx.steps.map_or(Ok(()), |steps| steps.take(1))?;
    let steps = cx.steps.filter(|_| cx.iteration != 0);
    if !node.op.bodies().is_empty() || !cx.memory.is_bounded() && steps.is_none() {
        return Ok(());
    }
    let types: Vec<Option<ValueType>> = arguments.iter().map(|value| value.as_ref().map(known_type)).collect();
    let operands: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let operands = Operands::new(&operands);
    // The operator itself reports inputs that inference refuses.
    let Ok(results) = infer(&node.op, &operands, &mut InferContext::default()) else { return Ok(()) };
    cx.memory.check(working_bytes(&results))?;
    let work = || node.op.cost(&operands, &results).operations.as_constant().unwrap_or(0) / OPERATIONS_OF_A_STEP;
    steps.map_or(Ok(()), |steps| steps.take(work().try_into().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sinter_base::{DataType, Dim, Tensor};

    use super::*;
    use crate::control::Loop;
    use crate::movement::{Concat, Expand};

    /// v -> (v, v), as often as the loop runs: two to the power of that many elements.
    fn doubling() -> Body {
        let mut inner = Body::new();
        let mut cx = InferContext::default();
        let condition = {
            inner.add_input(ValueType::tensor(DataType::I64, vec![]));
            inner.add_input(ValueType::tensor(DataType::Bool, vec![]))
        };
        let v = inner.add_input(ValueType::tensor(DataType::F32, vec![Dim::symbol("n")]));
        let twice = inner.add(Concat { axis: 0 }.into(), &[Some(v), Some(v)], &mut cx).unwrap()[0];
        inner.set_outputs(vec![condition, twice]);
        let mut body = Body::new();
        let count = body.add_input(ValueType::tensor(DataType::I64, vec![]));
        let v = body.add_input(ValueType::tensor(DataType::F32, vec![1i64.into()]));
        let op = Loop { carried: 1, body: Arc::new(inner) };
        let y = body.add(op.into(), &[Some(count), None, Some(v)], &mut cx).unwrap()[0];
        body.set_outputs(vec![y]);
        body
    }

    #[test]
    fn what_grows_on_the_way_is_bounded() {
        let run = |times: i128, allowed: u64| {
            let count = Tensor::from_ints(DataType::I64, &[], &[times]).unwrap();
            let inputs = vec![Some(count.into()), Some(Tensor::from_vec(&[1], vec![1f32]).unwrap().into())];
            let cx = EvalContext { memory: Memory::of(allowed), ..EvalContext::new(&crate::ReferenceEvaluator) };
            doubling().evaluate(inputs, &cx).map(|results| results[0].as_tensor().unwrap().count())
        };
        assert_eq!(run(10, 1 << 20), Ok(1024));
        assert_eq!(run(60, 1 << 20), Err(EvalError::Memory { needed: (4 << 16) + (8 << 17) + 9, allowed: 1 << 20 }));
    }

    #[test]
    fn long_loops_are_bounded() {
        let run = |allowed: u64| {
            let count = Tensor::from_ints(DataType::I64, &[], &[10]).unwrap();
            let inputs = vec![Some(count.into()), Some(Tensor::from_vec(&[1], vec![1f32]).unwrap().into())];
            let steps = Steps::of(allowed);
            let cx = EvalContext { steps: Some(&steps), ..EvalContext::new(&crate::ReferenceEvaluator) };
            doubling().evaluate(inputs, &cx).map(|results| results.len())
        };
        assert_eq!(
            (run(11), run(10)),
            (Ok(1), Err(EvalError::Steps { allowed: 10 })),
            "the loop and ten times its body"
        );
    }

    #[test]
    fn sizes_that_are_contents_are_bounded() {
        let mut body = Body::new();
        let x = body.add_input(ValueType::tensor(DataType::F32, vec![1i64.into()]));
        let sizes = body.add_input(ValueType::tensor(DataType::I64, vec![2i64.into()]));
        let mut cx = InferContext::default();
        let y = body.add(Expand {}.into(), &[Some(x), Some(sizes)], &mut cx).unwrap()[0];
        body.set_outputs(vec![y]);
        let run = |allowed| {
            let x = Tensor::from_vec(&[1], vec![1f32]).unwrap();
            let inputs = vec![Some(x.into()), Some(Tensor::of_i64(&[1000, 1000]).into())];
            let cx = EvalContext { memory: Memory::of(allowed), ..EvalContext::new(&crate::ReferenceEvaluator) };
            body.evaluate(inputs, &cx).is_ok()
        };
        assert!(run(8_000_000) && !run(7_999_999));
    }
}
