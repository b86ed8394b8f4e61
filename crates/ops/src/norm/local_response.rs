//! Normalization by the squares of neighbouring channels.
//!
//! `y[n, c, ..] = x[n, c, ..] / (bias + alpha / size * sum of x[n, k, ..]^2)^beta`, over the channels k from
//! `c - floor((size - 1) / 2)` to `c + ceil((size - 1) / 2)` that exist. x and y: [N, C, spatial...].
//! Elements: any float type. Source: ONNX LRN-13 (Krizhevsky et al. 2012).

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct LocalResponseNormalization {
    /// Number of channels in a sum.
    pub size: usize,
    /// Factor of the mean square.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Added to the scaled mean square.
    pub bias: f64,
}

impl Operator for LocalResponseNormalization {
    const NAME: &'static str = "LocalResponseNormalization";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let x = inputs.dims(0)?;
        if x.len() < 2 {
            return Err(InferError::Rank { index: 0, expected: "at least 2".to_owned(), found: x.len() });
        }
        if self.size == 0 {
            invalid!("a sum over 0 channels normalizes nothing");
        }
        Ok(vec![ValueType::tensor(data_type, x.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        crate::infer::result_sizes(self, inputs)?;
        let values = x.to_floats();
        let channels = x.sizes()[1];
        let inner: usize = x.sizes()[2..].iter().product();
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let y: Vec<f64> = (0..values.len())
            .map(|flat| {
                let (sample, channel, rest) = (flat / inner / channels, flat / inner % channels, flat % inner);
                let last = channel.saturating_add(after).min(channels - 1);
                let sum: f64 = (channel.saturating_sub(before)..=last)
                    .map(|k| values[(sample * channels + k) * inner + rest].powi(2))
                    .sum();
                values[flat] / (self.bias + self.alpha / self.size as f64 * sum).powf(self.beta)
            })
            .collect();
        Ok(vec![Tensor::from_floats(x.data_type(), x.sizes(), &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let per_element = i64::try_from(self.size).unwrap_or(i64::MAX).saturating_mul(2).saturating_add(4);
        Cost::elementwise(inputs, outputs, per_element)
    }

    fn examples() -> Vec<Example> {
        let usual = LocalResponseNormalization { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 };
        let strong = LocalResponseNormalization { size: 3, alpha: 2.0, beta: 0.5, bias: 0.25 };
        vec![
            Example::new("usual", usual.clone()).float(&[2, 11, 3, 5]),
            Example::new("strong", strong.clone()).float(&[1, 7, 4]),
            Example::new("even size", LocalResponseNormalization { size: 4, ..strong.clone() }).float(&[1, 6, 2, 2]),
            Example::new("wider than the channels", usual.clone()).float(&[1, 2, 3]),
            Example::new("one channel", LocalResponseNormalization { size: 1, ..strong }).float(&[3, 1]),
            Example::new("no batch", usual).float(&[0, 3, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn neighbours_by_hand() {
        let op = LocalResponseNormalization { size: 2, alpha: 2.0, beta: 1.0, bias: 1.0 };
        let x = Tensor::from_vec(&[1, 3], vec![1f32, 2.0, 3.0]).unwrap();
        // An even size looks one channel further ahead than back.
        let y = reference_of(&op, &[&x]).unwrap()[0].to_floats();
        assert_eq!(y, [1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0].map(|v: f64| f64::from(v as f32)));
    }
}
