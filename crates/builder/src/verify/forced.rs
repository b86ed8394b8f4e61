//! A reference executor with given decisions: operators that quantize, select or draw repeat their earlier results.
//!
//! A pass may round once more or once less, and so change the result of such an operator for a number close to an edge,
//! and all values behind it. So its operands are compared by the bound of floats, and where they agree the operator
//! returns its results from the imported network. Then values behind it can be compared by the bound of floats too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sinter_base::Value;
use sinter_interp::FastEvaluator;
use sinter_ops::memory::bytes_of;
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};

use crate::verify::discrete::decides;
use crate::verify::rules::{Rule, agree};

/// Limit on the bytes of stored operands and results.
const MOST_BYTES: u64 = 1 << 30;

/// A decision: operands and results of a discrete operator.
struct Decision {
    op: Op,
    inputs: Vec<Option<Value>>,
    outputs: Vec<Value>,
}

/// The fast reference executor, recording decisions.
#[derive(Default)]
pub(crate) struct Recorder {
    decisions: Mutex<(Vec<Decision>, u64)>,
}

impl Recorder {
    /// A reference executor that repeats the recorded decisions.
    pub(crate) fn forced(self) -> Forced {
        let (decisions, _) = self.decisions.into_inner().unwrap_or_else(PoisonError::into_inner);
        Forced { decisions, next: AtomicUsize::new(0), own: AtomicUsize::new(0) }
    }
}

impl Evaluator for Recorder {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let outputs = FastEvaluator.evaluate(op, inputs, cx)?;
        if decides(op) {
            let mut noted = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
            let inputs = inputs.all().to_vec();
            noted.1 = inputs.iter().flatten().chain(&outputs).map(bytes_of).fold(noted.1, u64::saturating_add);
            if noted.1 <= MOST_BYTES {
                noted.0.push(Decision { op: op.clone(), inputs, outputs: outputs.clone() });
            }
        }
        Ok(outputs)
    }
}

/// See the module documentation.
pub(crate) struct Forced {
    decisions: Vec<Decision>,
    /// Where the search for the next decision starts: passes keep most of the order.
    next: AtomicUsize,
    /// Number of decisions without a recorded one.
    own: AtomicUsize,
}

impl Forced {
    /// The same, with no decision used.
    pub(crate) fn again(&self) -> &Self {
        self.next.store(0, Ordering::Relaxed);
        self.own.store(0, Ordering::Relaxed);
        self
    }

    /// Did every decision repeat a recorded one?
    pub(crate) fn is_complete(&self) -> bool {
        self.own.load(Ordering::Relaxed) == 0
    }
}

/// Are these the operands of the decision, up to rounding?
fn is_near(decision: &Decision, op: &Op, inputs: &[Option<Value>]) -> bool {
    let near = |(found, known): (&Option<Value>, &Option<Value>)| match (found, known) {
        (None, None) => true,
        (Some(found), Some(known)) => agree(found, known, Rule::Exact, 0.0, 0.0).is_ok(),
        _ => false,
    };
    let sizes = |value: &Option<Value>| value.as_ref().and_then(Value::as_tensor).map(|tensor| tensor.sizes().to_vec());
    decision.op == *op
        && decision.inputs.len() == inputs.len()
        && inputs.iter().map(sizes).eq(decision.inputs.iter().map(sizes))
        && inputs.iter().zip(&decision.inputs).all(near)
}

impl Evaluator for Forced {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        if decides(op) {
            let (count, next) = (self.decisions.len(), self.next.load(Ordering::Relaxed));
            let mut order = (next..count).chain(0..next.min(count));
            if let Some(at) = order.find(|at| is_near(&self.decisions[*at], op, inputs.all())) {
                self.next.store(at + 1, Ordering::Relaxed);
                return Ok(self.decisions[at].outputs.clone());
            }
            self.own.fetch_add(1, Ordering::Relaxed);
        }
        FastEvaluator.evaluate(op, inputs, cx)
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::quantization::Granularity;
    use sinter_base::{DataType, Tensor};
    use sinter_ops::quantize::Quantize;

    use super::*;

    /// 2.5 and its neighbour within rounding are quantized alike, a more distant number is not.
    #[test]
    fn decisions_are_taken_once() {
        let op: Op = Quantize {
            data_type: DataType::I8,
            granularity: Granularity::Tensor,
            saturate: true,
            precision: DataType::F32,
        }
        .into();
        let run = |evaluator: &dyn Evaluator, x: f64| {
            let x = Tensor::from_floats(DataType::F32, &[2], &[x, 100.0]).unwrap();
            let operands = [Some(x.into()), Some(Tensor::scalar(DataType::F32, 1.0).into())];
            let results =
                evaluator.evaluate(&op, &Arguments::new(&operands), &EvalContext::new(&FastEvaluator)).unwrap();
            results[0].as_tensor().unwrap().to_i64()[0]
        };
        let recorder = Recorder::default();
        assert_eq!(run(&recorder, 2.5), 2, "to even");
        let forced = recorder.forced();
        assert_eq!((run(&forced, 2.500001), forced.is_complete()), (2, true));
        assert_eq!((run(&forced, 2.6), forced.is_complete()), (3, false));
        assert!(forced.again().is_complete());
    }
}
