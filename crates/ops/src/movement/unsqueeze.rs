//! Axes of size 1 inserted.
//!
//! Inputs: data of any type; axes: [k] i64, positions in the result, in any order. Source: ONNX Unsqueeze-25.

use sinter_base::{Attributes, Dim, TensorType, Value, ValueType};

use crate::axes::{distinct_axes, int_values, list_length};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Unsqueeze {}

/// Sizes with ones inserted.
fn inserted<T: Clone>(sizes: &[T], axes: &[i64], one: T) -> Result<Vec<T>, InferError> {
    let rank = sizes.len() + axes.len();
    let axes = distinct_axes(axes, rank)?;
    let mut rest = sizes.iter();
    // There are exactly as many positions left as sizes.
    Ok((0..rank)
        .map(|axis| if axes.contains(&axis) { one.clone() } else { rest.next().unwrap_or(&one).clone() })
        .collect())
}

impl Operator for Unsqueeze {
    const NAME: &'static str = "Unsqueeze";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        let length = list_length(inputs, 1)?;
        let Some(axes) = inputs.constant_ints(1) else {
            let added = length.as_constant().and_then(|l| usize::try_from(l).ok());
            let Some(added) = added else { return self.unranked(inputs) };
            let result = (0..dims.len() + added).map(|_| cx.fresh("unsqueeze")).collect();
            return Ok(vec![ValueType::tensor(data.data_type, result)]);
        };
        let mut ty = TensorType::ranked(data.data_type, inserted(dims, &axes, Dim::constant(1))?);
        ty.value = data.value.clone();
        Ok(vec![ty.into()])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, axes) = (inputs.tensor(0)?, int_values(inputs.tensor(1)?)?);
        Ok(vec![x.reshaped(&inserted(x.sizes(), &axes, 1)?)?.into()])
    }

    fn cost(&self, _inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        Cost { operations: Dim::constant(0), bytes: Dim::constant(0) }
    }

    fn examples() -> Vec<Example> {
        let op = Unsqueeze::default();
        vec![
            Example::new("front", op.clone()).float(&[3, 5]).ints(&[0]),
            Example::new("several, unsorted", op.clone()).float(&[3, 5]).ints(&[3, 0, -1]),
            Example::new("scalar", op.clone()).float(&[]).ints(&[0]),
            Example::new("no elements", op).float(&[0]).ints(&[-1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::Tensor;

    #[test]
    fn positions_are_those_of_the_result() {
        let x = Tensor::from_vec(&[2, 3], vec![0f32; 6]).unwrap();
        let sizes =
            |axes: &[i64]| reference_of(&Unsqueeze {}, &[&x, &Tensor::of_i64(axes)]).map(|y| y[0].sizes().to_vec());
        assert_eq!(sizes(&[2, 0]).unwrap(), [1, 2, 1, 3]);
        assert_eq!(sizes(&[-1]).unwrap(), [2, 3, 1]);
        assert!(sizes(&[4]).is_err());
        assert!(sizes(&[0, 0]).is_err());
    }
}
