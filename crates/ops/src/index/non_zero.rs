//! Positions of the elements that are not zero.
//!
//! Input of any type (a string counts when it is not empty). Result `[rank, count]`, i64: column `j` is the index vector
//! of the `j`-th such element in row-major order. A scalar gives `[0, count]`. Source: ONNX NonZero-13.

use sinter_base::shape::unravel;
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct NonZero {}

impl Operator for NonZero {
    const NAME: &'static str = "NonZero";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let rank = match inputs.tensor(0)?.shape.rank() {
            Some(rank) => Dim::from(rank),
            None => cx.fresh("rank"),
        };
        let known = inputs.constant_ints(0).map(|values| values.iter().filter(|&&v| v != 0).count());
        let count = known.map_or_else(|| cx.fresh("nonzero"), Dim::from);
        Ok(vec![ValueType::tensor(DataType::I64, vec![rank, count])])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let set: Vec<bool> = match x.data_type() {
            DataType::String => x.strings()?.iter().map(|s| !s.is_empty()).collect(),
            _ => x.to_bools(),
        };
        let positions: Vec<_> = (0..set.len()).filter(|&i| set[i]).map(|i| unravel(i, x.sizes())).collect();
        let entries = (0..x.rank()).flat_map(|axis| positions.iter().map(move |at| at[axis]));
        let entries: Vec<i64> = entries.map(|i| i64::try_from(i).unwrap_or(i64::MAX)).collect();
        Ok(vec![Tensor::from_vec(&[x.rank(), positions.len()], entries)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let operations = inputs.optional_value(0).map_or_else(|| Dim::constant(0), count_of);
        Cost { operations, ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let op = NonZero::default();
        vec![
            Example::new("mask", op.clone()).uniform(DataType::Bool, &[3, 17], 0.0, 1.0),
            Example::new("numbers", op.clone()).uniform(DataType::I32, &[2, 3, 5], -1.0, 1.0),
            Example::new("none set", op.clone()).ints(&[0, 0]),
            Example::new("no elements", op.clone()).float(&[3, 0]),
            Example::new("scalar", op).float(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn positions_by_hand() {
        let x = Tensor::from_vec(&[2, 2], vec![1f32, 0.0, f32::NAN, -2.0]).unwrap();
        let y = reference_of(&NonZero {}, &[&x]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[2, 3][..], vec![0, 1, 1, 0, 0, 1]));
        let y = reference_of(&NonZero {}, &[&Tensor::scalar(DataType::F32, 3.0)]).unwrap().swap_remove(0);
        assert_eq!(y.sizes(), [0, 1]);
    }
}
