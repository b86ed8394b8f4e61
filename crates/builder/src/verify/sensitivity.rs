//! The effect of rounding alone on results.
//!
//! Most networks damp an error of one layer in the next; some magnify it, and then two correct engines differ by more
//! than any fixed bound. So do sums whose terms cancel, steps such as a floor near their edge, and recurrences over
//! many steps. Where a result exceeds its bound, the reference executor runs a few times more with every float
//! perturbed at random by some units in the last place, once to each side. A difference of twice that effect is no
//! proof of an error.

use sinter_base::{DataType, Floats, Tensor, Value};
use sinter_interp::FastEvaluator;
use sinter_ir::Network;
use sinter_ops::{Arguments, Body, EvalContext, EvalError, Evaluator, Memory, Op};

use crate::verify::forced::Forced;
use crate::verify::{Answers, reference_context, unit_variance};

/// Units in the last place by which an f32 is perturbed: the effect of another order in a sum of some hundred terms.
const UNITS: f64 = 8.0;
/// Allowance for the chance that a few random runs miss the largest effect.
const ALLOWANCE: f64 = 2.0;
/// Relative part of the bound on elements that no run changes.
const RELATIVE: f64 = 2e-4;

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
    fn operands(self, operands: &[Option<Value>]) -> Vec<Option<Value>> {
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

/// The distances of two outputs of equal type and sizes, element by element; `None` for others. An overflowed element
/// is infinitely far from every number, whether it is an infinity or NaN.
fn distances(a: &Value, b: &Value) -> Option<Vec<f64>> {
    let (a, b) = (a.as_tensor()?, b.as_tensor()?);
    if a.sizes() != b.sizes() || a.data_type() != b.data_type() || a.data_type() == DataType::String {
        return None;
    }
    let (x, y) = (Floats::of(a), Floats::of(b));
    let one = |at: usize| {
        let (x, y) = (x.at(at), y.at(at));
        match (x.is_finite(), y.is_finite()) {
            (true, true) => (x - y).abs(),
            (false, false) => 0.0,
            _ => f64::INFINITY,
        }
    };
    Some((0..a.count()).map(one).collect())
}

/// The largest distance of two outputs.
fn distance(a: &Value, b: &Value) -> f64 {
    distances(a, b).map_or(f64::INFINITY, |distances| distances.into_iter().fold(0.0, f64::max))
}

/// Does rounding alone explain the distance of one output of a network from the reference executor's?
pub(crate) fn explains(imported: &Network, answers: &Answers, output: usize, found: &Value) -> bool {
    is_near(answers, output, found, answers.rounded(imported))
}

/// The same where discrete operators repeat their decisions.
pub(crate) fn explains_forced(
    imported: &Network,
    answers: &Answers,
    forced: &Forced,
    output: usize,
    found: &Value,
) -> bool {
    let run = |noise: &Noise| answers.run(imported, &noise.on(forced.again())).ok();
    is_near(answers, output, found, &Noise::RUNS.iter().filter_map(run).collect::<Vec<_>>())
}

/// Is an output at most twice as far off as in any of these runs?
fn is_near(answers: &Answers, output: usize, found: &Value, runs: &[Vec<Value>]) -> bool {
    let Some(expected) = answers.outputs.get(output) else { return false };
    let difference = distance(found, expected);
    let moved = runs.iter().filter_map(|moved| moved.get(output));
    let farthest = moved.map(|moved| distance(moved, expected)).fold(0.0, f64::max);
    difference.is_finite() && difference <= ALLOWANCE * farthest
}

/// Do errors grow from step to step? Then an element that no run changes is luck.
fn is_recurrent(body: &Body) -> bool {
    body.nodes().iter().any(|node| matches!(node.op, Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_)))
}

/// Does rounding alone explain the distance of a region's results from its meaning? Compares element by element, except
/// for recurrences.
pub(crate) fn excuses(
    body: &Body,
    operands: &[Option<Value>],
    found: &[Value],
    expected: &[Value],
    memory: Memory,
) -> bool {
    let run = |noise: &Noise| {
        let given = noise.operands(operands).into_iter().filter(Option::is_some).collect();
        body.evaluate(given, &reference_context(&noise.on(&FastEvaluator), memory)).ok()
    };
    let Some(runs) = Noise::RUNS.iter().map(run).collect::<Option<Vec<_>>>() else { return false };
    (0..expected.len()).all(|at| {
        let (Some(found), Some(known)) = (found.get(at), expected[at].as_tensor()) else { return false };
        let Some(differences) = distances(found, &expected[at]) else { return false };
        let moved: Option<Vec<Vec<f64>>> = runs.iter().map(|run| distances(run.get(at)?, &expected[at])).collect();
        let Some(mut moved) = moved else { return false };
        let known = Floats::of(known);
        if is_recurrent(body) {
            // Elements behind an overflow may have any value.
            let overflows = (0..differences.len()).any(|element| !known.at(element).is_finite());
            for run in &mut moved {
                let largest = run.iter().copied().fold(if overflows { f64::INFINITY } else { 0.0 }, f64::max);
                run.fill(largest);
            }
        }
        differences.into_iter().enumerate().all(|(element, difference)| {
            let farthest = moved.iter().map(|run| run[element]).fold(0.0, f64::max);
            let own = if known.at(element).is_finite() { RELATIVE * known.at(element).abs() } else { 0.0 };
            (difference.is_finite() || farthest.is_infinite()) && difference <= own + ALLOWANCE * farthest
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use sinter_base::{Location, ValueType};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::Memory;
    use sinter_ops::pointwise::{Expr, ScalarOp};

    use super::*;

    fn tensor(values: &[f32]) -> Value {
        Tensor::from_vec(&[values.len()], values.to_vec()).unwrap().into()
    }

    /// exp(1000 x) magnifies what is left of x + 1 - 1, exp(x) does not.
    #[test]
    fn only_networks_that_magnify_are_excused() {
        for (factor, excused) in [(1000.0, true), (1.0, false)] {
            let mut builder = NetworkBuilder::new();
            let mut value = builder.add_network_input("x", ValueType::tensor(DataType::F32, vec![3i64.into()]), None);
            let x = Expr::input(0, DataType::F32);
            for expression in [&x + 1.0, &(&x + -1.0) * factor, x.unary(ScalarOp::Exp)] {
                let op = Expr::into_pointwise(&[expression]).unwrap();
                value = builder.add(op, &[Some(value)], &Location::default()).unwrap()[0];
            }
            let network = builder.finish("n", &[("y".to_owned(), value)]);
            let inputs = HashMap::from([("x".to_owned(), tensor(&[0.01, 0.02, 0.03]))]);
            let answers = Answers::of(&network, inputs, Memory::UNBOUNDED).unwrap();
            let exact = answers.outputs[0].as_tensor().unwrap().to_floats();
            let off: Vec<f64> = exact.iter().map(|v| v * 1.0001).collect();
            let found = Tensor::from_floats(DataType::F32, &[3], &off).unwrap().into();
            assert_eq!(explains(&network, &answers, 0, &found), excused, "{factor}");
            assert!(!explains(&network, &answers, 0, &tensor(&[f32::NAN; 3])));
        }
    }
}
