//! Records the inputs that the reference executor gives to the bodies of control flow.

use std::sync::{Arc, Mutex, PoisonError};

use sinter_base::Value;
use sinter_interp::FastEvaluator;
use sinter_ops::{Arguments, Body, EvalContext, EvalError, Evaluator, Memory, Op, Steps};

use crate::verify::probes::opposite;
use crate::verify::reference::reference_context;

/// Inputs of a body; `None` for one that is left out.
pub(crate) type Inputs = Vec<Option<Value>>;

/// The fast reference executor; it records the inputs of some bodies: those of the first run, and those of the last one
/// of several.
struct Watching<'a> {
    bodies: Vec<&'a Arc<Body>>,
    runs: Mutex<Vec<Vec<Inputs>>>,
}

impl Evaluator for Watching<'_> {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        FastEvaluator.evaluate(op, inputs, cx)
    }

    fn enters(&self, body: &Body, inputs: &[Option<Value>]) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, runs) in self.bodies.iter().zip(&mut *runs).filter(|(known, _)| std::ptr::eq(Arc::as_ptr(known), body))
        {
            runs.truncate(1);
            runs.push(inputs.to_vec());
        }
    }
}

/// Runs an operator that owns bodies, and once more on the other branch where it branches. Returns its results, or the
/// reference executor's error on the branch that the operands select, and for each body its inputs until then. For an
/// endless loop, these are the first iteration and one of many.
pub(crate) fn run(
    op: &Op,
    operands: &[Option<Value>],
    memory: Memory,
    most_steps: u64,
) -> (Result<Vec<Value>, String>, Vec<Vec<Inputs>>) {
    let bodies = op.bodies();
    let runs = Mutex::new(vec![Vec::new(); bodies.len()]);
    let watching = Watching { bodies, runs };
    // The branch that the operands do not select may be longer than the other.
    let steps = Steps::of(most_steps);
    let cx = EvalContext { steps: Some(&steps), ..reference_context(&watching, memory) };
    let results = op.reference(&Arguments::new(operands), &cx).map_err(|e| e.to_string());
    if let (Op::If(_), Some((Some(condition), captures))) = (op, operands.split_first())
        && let Some(other) = opposite(condition)
    {
        // Where the reference executor fails there is nothing to compare.
        let _ = op.reference(&Arguments::new(&[&[Some(other)], captures].concat()), &cx);
    }
    (results, watching.runs.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use sinter_base::{DataType, Tensor, ValueType};
    use sinter_ops::control::{If, Loop, Scan};
    use sinter_ops::pointwise::{Expr, ScalarOp};
    use sinter_ops::{InferContext, Operator};

    use super::*;
    use crate::verify::reference::MOST_STEPS;

    /// Every example of the three operators: loops record two runs of their body, branches both bodies.
    #[test]
    fn bodies_are_seen_running() {
        let mut seen = Vec::new();
        for example in If::examples().into_iter().chain(Loop::examples()).chain(Scan::examples()) {
            let operands = example.values(7);
            let (results, runs) = run(&example.op, &operands, Memory::UNBOUNDED, MOST_STEPS);
            assert!(!results.unwrap().is_empty());
            let counts: Vec<usize> = runs.iter().map(Vec::len).collect();
            seen.push((example.op.name(), counts));
        }
        for expected in [("If", vec![1, 1]), ("Loop", vec![2]), ("Loop", vec![0]), ("Scan", vec![2]), ("Scan", vec![1])]
        {
            assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
        }
    }

    /// The branch that is not selected loops for ages: the step limit ends it, and its inputs are recorded all the
    /// same.
    #[test]
    fn the_other_side_may_be_endless() {
        let mut cx = InferContext::default();
        let scalar = |ty| ValueType::tensor(ty, vec![]);
        let mut inner = Body::new();
        inner.add_input(scalar(DataType::I64));
        let condition = inner.add_input(scalar(DataType::Bool));
        let sin = Expr::into_pointwise(&[Expr::input(0, DataType::F32).unary(ScalarOp::Sin)]).unwrap();
        let v = inner.add_input(scalar(DataType::F32));
        let next = inner.add(sin.clone().into(), &[Some(v)], &mut cx).unwrap()[0];
        inner.set_outputs(vec![condition, next]);
        let mut ages = Body::new();
        let (count, x) = (ages.add_input(scalar(DataType::I64)), ages.add_input(scalar(DataType::F32)));
        let op = Loop { carried: 1, body: Arc::new(inner) };
        let y = ages.add(op.into(), &[Some(count), None, Some(x)], &mut cx).unwrap()[0];
        ages.set_outputs(vec![y]);
        let mut short = Body::new();
        let x = short.add_input(scalar(DataType::F32));
        let y = short.add(sin.into(), &[Some(x)], &mut cx).unwrap()[0];
        short.set_outputs(vec![y]);
        let op = If { then_branch: Arc::new(short), else_branch: Arc::new(ages) }.into();
        let x = || Some(Tensor::scalar(DataType::F32, 0.5).into());
        let count = Some(Tensor::from_ints(DataType::I64, &[], &[1_000_000_000_000]).unwrap().into());
        let operands = [Some(Tensor::scalar(DataType::Bool, 1.0).into()), x(), count, x()];
        let (results, runs) = run(&op, &operands, Memory::UNBOUNDED, MOST_STEPS);
        assert_eq!((results.unwrap().len(), runs.iter().map(Vec::len).collect::<Vec<_>>()), (1, vec![1, 1]));
        // The selected branch is endless: its inputs until the limit are recorded.
        let turned = [&[opposite(operands[0].as_ref().unwrap())], &operands[1..]].concat();
        let (results, runs) = run(&op, &turned, Memory::UNBOUNDED, 1000);
        assert!(results.unwrap_err().contains("1000"));
        assert_eq!(runs[1].len(), 1);
    }

    #[test]
    fn conditions_are_turned_round() {
        assert!(opposite(&Tensor::scalar(DataType::F32, 1.0).into()).is_none());
        let other = opposite(&Tensor::scalar(DataType::Bool, 1.0).into()).unwrap();
        assert_eq!(other.as_tensor().unwrap().to_bools(), [false]);
    }
}
