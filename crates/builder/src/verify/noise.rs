//! The reference executor with noise: every float result is perturbed at random by some units in the last place.

use sinter_base::{DataType, Tensor, Value};
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};

use crate::verify::reference::unit_variance;

/// Units in the last place by which an f32 is perturbed: the effect of another order in a sum of some hundred terms.
const UNITS: f64 = 8.0;

/// One unit in the last place of a type's numbers, relative to the number; 0 for other types.
pub(crate) fn unit(data_type: DataType) -> f64 {
    match data_type {
        DataType::F32 => 2f64.powi(-23),
        DataType::F16 => 2f64.powi(-10),
        DataType::Bf16 => 2f64.powi(-7),
        _ => 0.0,
    }
}

/// The direction of a perturbation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    seed: u64,
    sign: f64,
}

/// A reference executor with noise: it perturbs every float result.
pub(crate) struct Noisy<'a> {
    noise: Noise,
    evaluator: &'a dyn Evaluator,
}

impl Noise {
    /// Each noise to both sides: an edge lies on one of them.
    pub(crate) const RUNS: [Self; 4] = [
        Self { seed: 0, sign: 1.0 },
        Self { seed: 0, sign: -1.0 },
        Self { seed: 1, sign: 1.0 },
        Self { seed: 1, sign: -1.0 },
    ];

    /// This noise on the results of an evaluator.
    pub(crate) fn on(self, evaluator: &dyn Evaluator) -> Noisy<'_> {
        Noisy { noise: self, evaluator }
    }

    /// The elements perturbed by this relative amount.
    fn moved(self, tensor: &Tensor, noise: f64, stream: u64) -> Option<Tensor> {
        let noise = noise * self.sign;
        let stream = self.seed << 8 | stream;
        let moved: Vec<f64> = (0u64..)
            .zip(tensor.to_floats())
            .map(|(index, v)| if v.is_finite() { v * (1.0 + noise * unit_variance(stream, index)) } else { v })
            .collect();
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &moved).ok()
    }

    /// Operands perturbed as their makers may have rounded them. Narrow operands stay: values computed from them are
    /// not rounded to their type.
    pub(crate) fn operands(self, operands: &[Option<Value>]) -> Vec<Option<Value>> {
        let moved = |(stream, value): (u64, &Option<Value>)| {
            let is_wide = |tensor: &&Tensor| matches!(tensor.data_type(), DataType::F32 | DataType::F64);
            let tensor = value.as_ref().and_then(Value::as_tensor).filter(is_wide);
            let moved = tensor.and_then(|tensor| self.moved(tensor, UNITS * unit(DataType::F32), 128 + stream));
            moved.map(Value::Tensor).or_else(|| value.clone())
        };
        (0u64..).zip(operands).map(moved).collect()
    }
}

impl Evaluator for Noisy<'_> {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut results = self.evaluator.evaluate(op, inputs, cx)?;
        for (stream, value) in (0u64..).zip(&mut results) {
            let Some(tensor) = value.as_tensor() else { continue };
            // Numbers of narrow types round one step further at most.
            let noise = match tensor.data_type() {
                DataType::F32 => UNITS * unit(DataType::F32),
                other => unit(other),
            };
            if noise > 0.0
                && let Some(moved) = self.noise.moved(tensor, noise, stream)
            {
                *value = moved.into();
            }
        }
        Ok(results)
    }
}
