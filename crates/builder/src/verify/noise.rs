//! The reference executor with noise: every float that an operator or a step of a pointwise program computes is
//! perturbed at random by some units in the last place, or loses as many digits.

use sinter_base::{DataType, Tensor, Value};
use sinter_interp::stepwise::{compared_inputs, compared_steps};
use sinter_interp::{Coarse, evaluate_by_steps, inner_errors};
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
        DataType::F8E4M3FN | DataType::F8E4M3FNUZ => 0.125,
        DataType::F8E5M2 | DataType::F8E5M2FNUZ => 0.25,
        DataType::F4E2M1 => 0.5,
        DataType::F8E8M0 => 1.0,
        _ => 0.0,
    }
}

/// The noise of a number, relative to it. Numbers of narrow types round one step further at most.
fn noise_of(data_type: DataType) -> f64 {
    match data_type {
        DataType::F32 => UNITS * unit(DataType::F32),
        DataType::F64 => UNITS * 2f64.powi(-52),
        other => unit(other),
    }
}

/// How a run perturbs floats.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noise {
    /// At random.
    Random { seed: u64, sign: f64 },
    /// To fewer digits, so that numbers which rounding separates become equal.
    Coarse(Coarse),
    /// To fewer digits where a program compares numbers, and nowhere else.
    Compared(Coarse),
}

/// A reference executor with noise: it perturbs every float result, inside of pointwise programs too.
pub(crate) struct Noisy<'a> {
    noise: Noise,
    evaluator: &'a dyn Evaluator,
}

/// Runs of fewer digits.
const COARSE: [Noise; 4] = {
    let [a, b] = Coarse::RUNS;
    [Noise::Coarse(a), Noise::Coarse(b), Noise::Compared(a), Noise::Compared(b)]
};
/// Streams of random numbers: steps of programs, operands, terms inside of operators; those below are of results.
const STEPS: u64 = 1 << 8;
const OPERANDS: u64 = 1 << 7;
const INSIDE: u64 = 1 << 6;

impl Noise {
    /// A round of runs, each random noise to both sides: an edge lies on one of them. The first round has runs of fewer
    /// digits as well.
    pub(crate) fn round(round: u64) -> impl Iterator<Item = Self> {
        let coarse: &[Self] = if round == 0 { &COARSE } else { &[] };
        let both = |seed: u64| [1.0, -1.0].map(|sign| Self::Random { seed, sign });
        [2 * round, 2 * round + 1].into_iter().flat_map(both).chain(coarse.iter().copied())
    }

    /// This noise on the results of an evaluator.
    pub(crate) fn on(self, evaluator: &dyn Evaluator) -> Noisy<'_> {
        Noisy { noise: self, evaluator }
    }

    /// The elements perturbed by this relative amount.
    fn moved(self, tensor: &Tensor, noise: f64, stream: u64) -> Option<Tensor> {
        let is_wide = matches!(tensor.data_type(), DataType::F32 | DataType::F64);
        let one = |(index, v): (u64, f64)| match self {
            Self::Random { seed, sign } if v.is_finite() => {
                v * (1.0 + sign * noise * unit_variance(seed << 12 | stream, index))
            }
            Self::Random { .. } => v,
            // Kernels compute in wide types, which have room for the subnormal numbers of narrow ones.
            _ if !is_wide && v.abs() < f64::from(f32::MIN_POSITIVE) => v,
            // At most the noise off the number.
            Self::Coarse(coarse) => coarse.of(v, 2.0 * noise),
            Self::Compared(coarse) => coarse.of(v, Coarse::WIDE * noise),
        };
        let moved: Vec<f64> = (0u64..).zip(tensor.to_floats()).map(one).collect();
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &moved).ok()
    }

    /// A result perturbed as a kernel may have rounded it.
    fn result(self, value: Value, stream: u64) -> Value {
        let Some(tensor) = value.as_tensor() else { return value };
        match noise_of(tensor.data_type()) {
            noise if noise > 0.0 => self.moved(tensor, noise, stream).map_or(value, Value::Tensor),
            _ => value,
        }
    }

    /// The operands of a program that compares some as they are: those of fewer digits.
    fn compared(self, op: &Op, inputs: &Arguments<'_>) -> Option<Vec<Option<Value>>> {
        let (Self::Compared(_), Op::Pointwise(op)) = (self, op) else { return None };
        let compared = compared_inputs(op);
        let moved = |(index, value): (usize, &Option<Value>)| match value {
            Some(value) if compared.contains(&index) => Some(self.result(value.clone(), OPERANDS)),
            other => other.clone(),
        };
        Some(inputs.all().iter().enumerate().map(moved).collect())
    }

    /// A result with the rounding of terms of these sizes, by element.
    fn inside(self, value: &Value, sizes: &[f64]) -> Option<Value> {
        let Self::Random { seed, sign } = self else { return None };
        let tensor = value.as_tensor()?;
        let one = |(index, (v, size)): (u64, (f64, &f64))| {
            v + sign * noise_of(DataType::F32) * size * unit_variance(seed << 12 | INSIDE, index)
        };
        let moved: Vec<f64> = (0u64..).zip(tensor.to_floats().into_iter().zip(sizes)).map(one).collect();
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &moved).ok().map(Value::Tensor)
    }

    /// Operands perturbed as their makers may have rounded them. Narrow operands stay: values computed from them are
    /// not rounded to their type.
    pub(crate) fn operands(self, operands: &[Option<Value>]) -> Vec<Option<Value>> {
        if matches!(self, Self::Compared(_)) {
            return operands.to_vec();
        }
        let moved = |(stream, value): (u64, &Option<Value>)| {
            let is_wide = |tensor: &&Tensor| matches!(tensor.data_type(), DataType::F32 | DataType::F64);
            let tensor = value.as_ref().and_then(Value::as_tensor).filter(is_wide);
            let moved = tensor.and_then(|tensor| self.moved(tensor, noise_of(DataType::F32), OPERANDS + stream));
            moved.map(Value::Tensor).or_else(|| value.clone())
        };
        (0u64..).zip(operands).map(moved).collect()
    }
}

impl Evaluator for Noisy<'_> {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let moved = self.noise.compared(op, inputs);
        let moved = moved.as_deref().map(Arguments::new);
        let inputs = moved.as_ref().unwrap_or(inputs);
        let mut results = self.evaluator.evaluate(op, inputs, cx)?;
        if let Op::Pointwise(op) = op {
            // A kernel also rounds intermediate values, on which a later step may decide.
            let compared = compared_steps(op);
            let step = |position: usize, result: Value| match self.noise {
                Noise::Compared(_) if !compared.contains(&position) => result,
                noise => noise.result(result, STEPS + position as u64),
            };
            let inside = evaluate_by_steps(op, inputs, self.evaluator, cx, &step)?;
            // A result that depends on no operand has no axes here, and no error.
            for (result, inside) in results.iter_mut().zip(inside) {
                if inside.as_tensor().map(Tensor::sizes) == result.as_tensor().map(Tensor::sizes) {
                    *result = inside;
                }
            }
            return Ok(results);
        }
        if matches!(self.noise, Noise::Compared(_)) {
            return Ok(results);
        }
        if let Some(sizes) = inner_errors(op, inputs, &results, self.evaluator, cx)? {
            results[0] = self.noise.inside(&results[0], &sizes).unwrap_or_else(|| results[0].clone());
        }
        Ok((0u64..).zip(results).map(|(stream, value)| self.noise.result(value, stream)).collect())
    }
}
