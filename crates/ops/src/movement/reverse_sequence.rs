//! Sequences of different lengths reversed in place.
//!
//! Inputs: data of any type with at least two dimensions; lengths: [batch] i64. For batch entry `b` the first
//! `lengths[b]` elements along the time axis come in reverse order, the others stay. Source: ONNX ReverseSequence-10.

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{Attributes, Value, ValueType};

use crate::axes::{axis_of, int_values, is_index_type};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct ReverseSequence {
    /// Axis of the sequences' numbers.
    pub batch_axis: i64,
    /// Axis along which a sequence runs.
    pub time_axis: i64,
}

impl ReverseSequence {
    fn axes(&self, rank: usize) -> Result<(usize, usize), InferError> {
        let axes = (axis_of(self.batch_axis, rank)?, axis_of(self.time_axis, rank)?);
        if axes.0 == axes.1 {
            invalid!("batch and time are both axis {}", axes.0);
        }
        Ok(axes)
    }
}

impl Operator for ReverseSequence {
    const NAME: &'static str = "ReverseSequence";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let dims = inputs.dims(0)?;
        let (batch, _) = self.axes(dims.len())?;
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        cx.require_equal(&inputs.dims_of_rank(1, 1)?[0], &dims[batch], "number of lengths and of sequences")?;
        Ok(vec![ValueType::tensor(inputs.data_type(0)?, dims.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, given) = (inputs.tensor(0)?, int_values(inputs.tensor(1)?)?);
        let (batch, time) = self.axes(x.rank())?;
        let steps = x.sizes()[time];
        let mut lengths = Vec::with_capacity(given.len());
        for length in given {
            match usize::try_from(length) {
                Ok(length) if length <= steps => lengths.push(length),
                _ => invalid!(eval: "a sequence of length {length} among {steps} time steps"),
            }
        }
        if lengths.len() != x.sizes()[batch] {
            invalid!(eval: "{} lengths for {} sequences", lengths.len(), x.sizes()[batch]);
        }
        let own = strides(x.sizes());
        let result = x.rearranged(x.sizes(), |i| {
            let mut at = unravel(i, x.sizes());
            let length = lengths[at[batch]];
            if at[time] < length {
                at[time] = length - 1 - at[time];
            }
            Some(ravel(&at, &own))
        })?;
        Ok(vec![result.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::new("time first", ReverseSequence { batch_axis: 1, time_axis: 0 })
                .float(&[5, 3, 2])
                .ints(&[5, 0, 2]),
            Example::new("batch first", ReverseSequence { batch_axis: 0, time_axis: 1 }).float(&[2, 7]).ints(&[3, 7]),
            Example::new("inner axes", ReverseSequence { batch_axis: -1, time_axis: -2 })
                .float(&[2, 3, 2])
                .ints(&[1, 3]),
            Example::new("no sequences", ReverseSequence { batch_axis: 0, time_axis: 1 }).float(&[0, 3]).ints(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::Tensor;

    #[test]
    fn the_tail_stays() {
        let x = Tensor::from_vec(&[2, 3], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let op = ReverseSequence { batch_axis: 0, time_axis: 1 };
        assert_eq!(reference_of(&op, &[&x, &Tensor::of_i64(&[2, 3])]).unwrap()[0].to_i64(), [2, 1, 3, 6, 5, 4]);
        assert!(reference_of(&op, &[&x, &Tensor::of_i64(&[2, 4])]).is_err());
        assert!(reference_of(&op, &[&x, &Tensor::of_i64(&[-1, 1])]).is_err());
    }
}
