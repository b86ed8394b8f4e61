//! A tensor of random numbers.
//!
//! Input: shape, [rank] i64. Element `i` comes from word `i mod 4` of block `i / 4` of the stream of (seed, stream), see
//! [`crate::random::philox`]. Uniform: `low + u (high - low)` with `u` the upper 24 bits of the word, in `[0, 1)`. Normal:
//! words `2 j` and `2 j + 1` make elements `2 j` and `2 j + 1` by Box and Muller's method, `r cos t` and `r sin t` with
//! `r = sqrt(-2 ln(u + 2^-24))` and `t = 2 pi v`. Without a seed of its own the operator uses that of the run. Source:
//! ONNX RandomUniform-22, RandomNormal-22, which leave the generator open.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::axes::{int_values, list_length};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};
use crate::random::philox::{block, unit};

/// How numbers are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Attributes)]
pub enum Distribution {
    /// Evenly between two bounds.
    Uniform {
        /// Lower bound, included.
        low: f64,
        /// Upper bound, excluded but for rounding.
        high: f64,
    },
    /// Gaussian.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        scale: f64,
    },
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct RandomFill {
    /// How numbers are distributed.
    pub distribution: Distribution,
    /// Element type, a float type.
    pub data_type: DataType,
    /// Seed; left out: that of the run.
    pub seed: Option<i64>,
    /// Number of the stream, given when a network is imported: it tells operators with equal seeds apart, and stays
    /// when passes move or drop nodes.
    pub stream: usize,
}

impl RandomFill {
    fn check_type(&self) -> Result<(), InferError> {
        if !self.data_type.is_float() {
            invalid!("random numbers of type {} are not defined, a float type is needed", self.data_type);
        }
        Ok(())
    }

    /// Four neighbouring elements.
    fn elements(&self, words: [u32; 4]) -> [f64; 4] {
        match self.distribution {
            Distribution::Uniform { low, high } => words.map(|word| low + unit(word) * (high - low)),
            Distribution::Normal { mean, scale } => {
                let pair = |first: u32, second: u32| {
                    let radius = (-2.0 * (unit(first) + 1.0 / f64::from(1u32 << 24)).ln()).sqrt();
                    let (sine, cosine) = (std::f64::consts::TAU * unit(second)).sin_cos();
                    [mean + scale * radius * cosine, mean + scale * radius * sine]
                };
                let [[a, b], [c, d]] = [pair(words[0], words[1]), pair(words[2], words[3])];
                [a, b, c, d]
            }
        }
    }
}

impl Operator for RandomFill {
    const NAME: &'static str = "RandomFill";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check_type()?;
        let length = list_length(inputs, 0)?;
        let dims = match (inputs.ints(0), length.as_constant()) {
            (Some(dims), _) => dims.to_vec(),
            (None, Some(rank)) => (0..rank).map(|_| cx.fresh("random")).collect(),
            (None, None) => return self.unranked(inputs),
        };
        if let Some(negative) = dims.iter().find(|d| d.upper_bound() < 0) {
            invalid!("a size of {negative}");
        }
        Ok(vec![ValueType::tensor(self.data_type, dims)])
    }

    fn unranked(&self, _inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check_type()?;
        Ok(vec![ValueType::unranked(self.data_type)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[0]
    }

    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.check_type()?;
        let shape = int_values(inputs.tensor(0)?)?;
        let sizes: Result<Vec<usize>, _> = shape.iter().map(|&size| usize::try_from(size)).collect();
        let Ok(sizes) = sizes else { invalid!(eval: "random numbers of shape {shape:?}") };
        let Some(count) = sinter_base::shape::element_count(&sizes) else {
            invalid!(eval: "random numbers of shape {shape:?} are too many")
        };
        let seed = self.seed.map_or(cx.seed, i64::cast_unsigned);
        let blocks = (0..count.div_ceil(4))
            .map(|number| self.elements(block(seed, cx.iteration ^ self.stream as u64, number as u64)));
        let mut values: Vec<f64> = blocks.flatten().collect();
        values.truncate(count);
        Ok(vec![Tensor::from_floats(self.data_type, &sizes, &values)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 20)
    }

    fn effects(&self) -> Effects {
        Effects::RANDOM
    }

    fn examples() -> Vec<Example> {
        let op = |distribution, data_type| RandomFill { distribution, data_type, seed: Some(7), stream: 0 };
        let (uniform, normal) =
            (Distribution::Uniform { low: -2.0, high: 3.0 }, Distribution::Normal { mean: 1.0, scale: 0.5 });
        vec![
            Example::new("uniform", op(uniform, DataType::F32)).ints(&[3, 17]),
            Example::new("normal", op(normal, DataType::F32)).ints(&[31]),
            Example::new("half", op(normal, DataType::F16)).ints(&[2, 5]),
            Example::new(
                "seed of the run, another stream",
                RandomFill { distribution: uniform, data_type: DataType::F32, seed: None, stream: 5 },
            )
            .ints(&[7]),
            Example::new("no elements", op(uniform, DataType::F32)).ints(&[0, 3]),
            Example::new("scalar", op(uniform, DataType::F64)).ints(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    fn draw(op: &RandomFill, count: i64, stream: usize) -> Vec<f64> {
        let cx = EvalContext::new(&ReferenceEvaluator);
        let op = RandomFill { stream, ..op.clone() };
        let inputs = [Some(Value::Tensor(Tensor::of_i64(&[count])))];
        op.reference(&Arguments::new(&inputs), &cx).unwrap()[0].as_tensor().unwrap().to_floats()
    }

    #[test]
    fn moments_and_streams() {
        let normal = Distribution::Normal { mean: 2.0, scale: 3.0 };
        let op = RandomFill { distribution: normal, data_type: DataType::F64, seed: Some(1), stream: 0 };
        let values = draw(&op, 20_001, 0);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 2.0).abs() < 0.1 && (variance - 9.0).abs() < 0.3, "{mean} {variance}");
        assert_eq!(values[..5], draw(&op, 5, 0));
        assert_ne!(values[..5], draw(&op, 5, 1));
        let uniform = Distribution::Uniform { low: -1.0, high: 1.0 };
        let values = draw(&RandomFill { distribution: uniform, ..op }, 10_000, 0);
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!((values.iter().sum::<f64>() / 10_000.0).abs() < 0.03);
    }

    #[test]
    fn integers_are_refused() {
        let uniform = Distribution::Uniform { low: 0.0, high: 1.0 };
        let op = RandomFill { distribution: uniform, data_type: DataType::I32, seed: None, stream: 0 };
        let inputs = [Some(Value::Tensor(Tensor::of_i64(&[1])))];
        assert!(op.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator)).is_err());
    }
}
