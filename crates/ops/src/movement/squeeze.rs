//! Axes of size 1 removed.
//!
//! Inputs: data of any type; axes: [k] i64, left out for all axes of size 1. A listed axis of another size is an error.
//! Source: ONNX Squeeze-25.

use sinter_base::{Attributes, Dim, TensorType, Truth, Value, ValueType};

use crate::axes::{distinct_axes, int_values, list_length};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Squeeze {}

impl Operator for Squeeze {
    const NAME: &'static str = "Squeeze";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        let one = Dim::constant(1);
        let kept: Vec<Dim> = if inputs.has(1) {
            let length = list_length(inputs, 1)?;
            let Some(axes) = inputs.constant_ints(1) else {
                let removed = length.as_constant().and_then(|l| usize::try_from(l).ok());
                let Some(rank) = removed.and_then(|r| dims.len().checked_sub(r)) else { return self.unranked(inputs) };
                return Ok(vec![ValueType::tensor(data.data_type, (0..rank).map(|_| cx.fresh("squeeze")).collect())]);
            };
            let axes = distinct_axes(&axes, dims.len())?;
            for &axis in &axes {
                cx.require_equal(&dims[axis], &one, "size of a squeezed axis")?;
            }
            dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, d)| d.clone()).collect()
        } else {
            // If the size of an axis may be 1, even the rank is unknown.
            if dims.iter().any(|d| d.equals(&one) == Truth::Unknown) {
                return self.unranked(inputs);
            }
            dims.iter().filter(|d| **d != one).cloned().collect()
        };
        let mut ty = TensorType::ranked(data.data_type, kept);
        ty.value = data.value.clone();
        Ok(vec![ty.into()])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let axes = match inputs.optional_tensor(1)?.map(int_values).transpose()? {
            Some(axes) => distinct_axes(&axes, x.rank())?,
            None => (0..x.rank()).filter(|&axis| x.sizes()[axis] == 1).collect(),
        };
        if let Some(&axis) = axes.iter().find(|&&axis| x.sizes()[axis] != 1) {
            invalid!(eval: "axis {axis} of size {} cannot be squeezed", x.sizes()[axis]);
        }
        let kept: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.sizes()[a]).collect();
        Ok(vec![x.reshaped(&kept)?.into()])
    }

    fn cost(&self, _inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        Cost { operations: Dim::constant(0), bytes: Dim::constant(0) }
    }

    fn examples() -> Vec<Example> {
        let op = Squeeze::default();
        vec![
            Example::new("listed", op.clone()).float(&[1, 3, 1, 5]).ints(&[0, -2]),
            Example::new("all", op.clone()).float(&[1, 3, 1]),
            Example::new("none", op.clone()).float(&[3, 1]).ints(&[]),
            Example::new("no elements", op.clone()).float(&[1, 0]).ints(&[0]),
            Example::new("to a scalar", op).float(&[1, 1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::{DataType, Tensor};

    #[test]
    fn only_ones_are_removed() {
        let x = Tensor::from_vec(&[1, 2, 1], vec![1f32, 2.0]).unwrap();
        assert_eq!(reference_of(&Squeeze {}, &[&x]).unwrap()[0].sizes(), [2]);
        assert_eq!(reference_of(&Squeeze {}, &[&x, &Tensor::of_i64(&[-1])]).unwrap()[0].sizes(), [1, 2]);
        assert!(reference_of(&Squeeze {}, &[&x, &Tensor::of_i64(&[1])]).is_err());
    }

    #[test]
    fn an_open_size_leaves_the_rank_open() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), Dim::constant(1)]);
        assert_eq!(infer_of(&Squeeze {}, &[&x]).unwrap()[0].to_string(), "f32[..]");
        let axes = ValueType::from(TensorType::of(&Tensor::of_i64(&[1])));
        assert_eq!(infer_of(&Squeeze {}, &[&x, &axes]).unwrap()[0].to_string(), "f32[N]");
    }
}
