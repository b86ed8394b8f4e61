//! Softmax and its logarithm along one axis.
//!
//! `y_i = e^(x_i - m) / sum_j e^(x_j - m)` with `m = max_j x_j`; with `log`: `y_i = x_i - m - ln sum_j e^(x_j - m)`.
//! Any float type, computed in float64. Source: ONNX Softmax-13, LogSoftmax-13.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::axes::{axis_of, numeric};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Softmax {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The logarithm of the result instead.
    pub log: bool,
}

impl Operator for Softmax {
    const NAME: &'static str = "Softmax";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let dims = inputs.dims(0)?;
        axis_of(self.axis, dims.len())?;
        Ok(vec![ValueType::tensor(data_type, dims.to_vec())])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(inputs.data_type_where(0, "a float type", DataType::is_float)?)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = numeric(inputs.tensor(0)?)?;
        let axis = axis_of(self.axis, x.rank())?;
        let (length, inner) = (x.sizes()[axis], x.sizes()[axis + 1..].iter().product::<usize>());
        let outer = x.sizes()[..axis].iter().product::<usize>();
        let mut y = x.to_floats();
        for o in 0..outer {
            for i in 0..inner {
                let at = |k: usize| (o * length + k) * inner + i;
                let largest = (0..length).map(|k| y[at(k)]).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..length).map(|k| (y[at(k)] - largest).exp()).sum();
                for k in 0..length {
                    let shifted = y[at(k)] - largest;
                    y[at(k)] = if self.log { shifted - sum.ln() } else { shifted.exp() / sum };
                }
            }
        }
        Ok(vec![Tensor::from_floats(x.data_type(), x.sizes(), &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 5)
    }

    fn examples() -> Vec<Example> {
        let along = |axis, log| Softmax { axis, log };
        vec![
            Example::new("last axis", along(-1, false)).uniform(DataType::F32, &[3, 17], -20.0, 20.0),
            Example::new("long rows", along(1, false)).float(&[2, 1031]),
            Example::new("inner axis", along(1, false)).float(&[2, 5, 7]),
            Example::new("logarithm", along(-1, true)).uniform(DataType::F32, &[5, 13], -100.0, 100.0),
            Example::new("logarithm, first axis", along(0, true)).float(&[3, 4]),
            Example::new("half", along(-1, false)).uniform(DataType::F16, &[2, 33], -4.0, 4.0),
            Example::new("one element", along(0, false)).float(&[1]),
            Example::new("no elements", along(1, false)).float(&[3, 0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn rows_by_hand() {
        let x = Tensor::from_vec(&[2, 2], vec![0f64, 3f64.ln(), 1e4, 1e4]).unwrap();
        let y = reference_of(&Softmax { axis: 1, log: false }, &[&x]).unwrap()[0].to_floats();
        for (found, expected) in y.iter().zip([0.25, 0.75, 0.5, 0.5]) {
            assert!((found - expected).abs() < 1e-12);
        }
        let y = reference_of(&Softmax { axis: 1, log: true }, &[&x]).unwrap()[0].to_floats();
        assert!((y[0] - 0.25f64.ln()).abs() < 1e-12 && (y[3] - 0.5f64.ln()).abs() < 1e-12);
    }
}
