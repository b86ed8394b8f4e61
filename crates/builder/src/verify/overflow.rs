//! Numbers so large that f32 may overflow where float64 does not.
//!
//! The reference executor computes sums and squares in float64 and rounds them once. A kernel that computes them in f32
//! gives an infinity where intermediate values are too large: f32 allows that, so it is no error of the kernel. A
//! difference near such numbers is therefore no proof.

use std::sync::atomic::{AtomicBool, Ordering};

use sinter_base::{DataType, Floats, Value};
use sinter_interp::{FastEvaluator, run_within};
use sinter_ir::Network;
use sinter_ops::{Arguments, Body, EvalContext, EvalError, Evaluator, Memory, Op, Steps};

use crate::verify::answers::Answers;
use crate::verify::reference::reference_context;

/// Squares of such numbers overflow if some million of them are added up.
const HUGE: f64 = (1u64 << 52) as f64;

/// The reason in reports.
pub(crate) const REASON: &str = "the numbers are so large that f32 may overflow where float64 does not";

/// Is any finite number among them huge?
fn may_overflow<'a>(values: impl IntoIterator<Item = &'a Value>) -> bool {
    let is_huge = |value: &Value| {
        let tensor = value.as_tensor().filter(|t| matches!(t.data_type(), DataType::F32 | DataType::Bf16));
        tensor.is_some_and(|tensor| Floats::of(tensor).largest() >= HUGE)
    };
    values.into_iter().any(is_huge)
}

/// The fast reference executor, watching for huge numbers.
#[derive(Default)]
struct Watch(AtomicBool);

impl Evaluator for Watch {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let results = FastEvaluator.evaluate(op, inputs, cx)?;
        if may_overflow(inputs.all().iter().flatten().chain(&results)) {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(results)
    }
}

/// Does a region compute huge numbers?
pub(crate) fn region_may_overflow(body: &Body, operands: &[Option<Value>], memory: Memory) -> bool {
    let watch = Watch::default();
    let given = operands.iter().filter(|value| value.is_some()).cloned().collect();
    let results = body.evaluate(given, &reference_context(&watch, memory));
    let ends = operands.iter().flatten().chain(results.iter().flatten());
    may_overflow(ends) || watch.0.load(Ordering::Relaxed)
}

/// Does a network compute huge numbers?
pub(crate) fn network_may_overflow(network: &Network, answers: &Answers) -> bool {
    let (watch, steps) = (Watch::default(), Steps::of(answers.most_steps()));
    let cx = EvalContext { steps: Some(&steps), ..reference_context(&watch, answers.memory) };
    let _ = run_within(network, &answers.inputs, &cx);
    watch.0.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use sinter_base::Tensor;

    use super::*;

    #[test]
    fn infinities_are_not_large_numbers() {
        let of = |data_type, values: &[f64]| {
            may_overflow(&[Tensor::from_floats(data_type, &[values.len()], values).unwrap().into()])
        };
        assert!(!of(DataType::F32, &[1.0, 1e15, f64::INFINITY, f64::NAN]));
        assert!(of(DataType::F32, &[1.0, -1e16]));
        assert!(!of(DataType::F64, &[1e300]), "kernels of f64 compute as the reference executor does");
    }
}
