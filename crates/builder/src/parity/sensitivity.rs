//! How far rounding alone moves a network's outputs.
//!
//! Most networks forget an error of one layer in the next; some magnify it, and then two correct engines differ by more than
//! any fixed bound. Where a bound is exceeded, the judge runs once more with every float result moved at random by a few
//! units in the last place, about what summing in another order does. An output that such a run moves by an eighth of
//! the difference says nothing about the difference.

use sinter_base::{DataType, Floats, Tensor, Value};
use sinter_interp::FastEvaluator;
use sinter_ir::Network;
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};

use crate::parity::{Answers, unit_variance};

/// Units in the last place that every f32 is moved by.
const UNITS: f64 = 2.0;
/// What one random run may stay below the largest effect by.
const ALLOWANCE: f64 = 8.0;

/// One unit in the last place of a type's numbers, as a part of the number; nothing for what is no float.
pub(crate) fn unit(data_type: DataType) -> f64 {
    match data_type {
        DataType::F32 => 2f64.powi(-23),
        DataType::F16 => 2f64.powi(-10),
        DataType::Bf16 => 2f64.powi(-7),
        _ => 0.0,
    }
}

/// Relative size of what elements are moved by. Numbers of narrow types round one step further at most.
fn noise(data_type: DataType) -> f64 {
    if data_type == DataType::F32 { UNITS * unit(data_type) } else { unit(data_type) }
}

/// The fast judge, with noise.
pub(crate) struct Noisy;

impl Evaluator for Noisy {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut results = FastEvaluator.evaluate(op, inputs, cx)?;
        for (stream, value) in (0u64..).zip(&mut results) {
            let Some(tensor) = value.as_tensor().filter(|t| noise(t.data_type()) > 0.0) else { continue };
            let noise = noise(tensor.data_type());
            let moved: Vec<f64> = (0u64..)
                .zip(tensor.to_floats())
                .map(|(index, v)| if v.is_finite() { v * (1.0 + noise * unit_variance(stream, index)) } else { v })
                .collect();
            *value = Tensor::from_floats(tensor.data_type(), tensor.sizes(), &moved)?.into();
        }
        Ok(results)
    }
}

/// The largest difference of two outputs of equal type and sizes; infinite for others and beside what is not finite.
fn distance(a: &Value, b: &Value) -> f64 {
    let (Some(a), Some(b)) = (a.as_tensor(), b.as_tensor()) else { return f64::INFINITY };
    if a.sizes() != b.sizes() || a.data_type() != b.data_type() {
        return f64::INFINITY;
    }
    let (x, y) = (Floats::of(a), Floats::of(b));
    let one = |at: usize| if x.at(at) == y.at(at) { 0.0 } else { (x.at(at) - y.at(at)).abs() };
    (0..a.count()).map(one).fold(0.0, |most, d| if d.is_nan() { f64::INFINITY } else { most.max(d) })
}

/// Does rounding alone explain how far one output of a network lies from the judge's?
pub(crate) fn explains(imported: &Network, answers: &Answers, output: usize, found: &Value) -> bool {
    let Some(expected) = answers.outputs.get(output) else { return false };
    let difference = distance(found, expected);
    let moved = answers.rounded(imported).and_then(|moved| moved.get(output));
    difference.is_finite() && moved.is_some_and(|moved| difference <= ALLOWANCE * distance(moved, expected))
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
