//! The tensors of a list joined along an axis, or stacked along a new one.
//!
//! Input: sequence of at least one tensor; all agree but for the axis (in everything, for a new axis).
//! Source: ONNX ConcatFromSequence-11.

use sinter_base::{Attributes, DataType, Tensor, TensorType, Value, ValueType};

use crate::axes::axis_of;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};
use crate::sequence::{combine, element_type, elements};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct ConcatFromSequence {
    /// The axis in the result, negative ones counted from the last.
    pub axis: i64,
    /// Stack along a new axis.
    pub new_axis: bool,
}

impl Operator for ConcatFromSequence {
    const NAME: &'static str = "ConcatFromSequence";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let element = element_type(inputs, 0)?;
        let Some(tensor) = element.as_tensor() else { invalid!("only tensors can be joined, found {element}") };
        let mut dims = tensor.dims()?.to_vec();
        let axis = axis_of(self.axis, dims.len() + usize::from(self.new_axis))?;
        if self.new_axis {
            dims.insert(axis, cx.fresh("length"));
        } else {
            dims[axis] = cx.fresh("joined");
        }
        Ok(vec![TensorType::ranked(tensor.data_type, dims).into()])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(element_type(inputs, 0)?.data_type())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (_, items) = elements(inputs, 0)?;
        let tensors: Option<Vec<&Tensor>> = items.iter().map(Value::as_tensor).collect();
        let Some(tensors) = tensors else { invalid!(eval: "only tensors can be joined") };
        let Some(first) = tensors.first() else { invalid!(eval: "an empty sequence cannot be joined") };
        let axis = axis_of(self.axis, first.rank() + usize::from(self.new_axis))?;
        let joined = if self.new_axis { combine::stack(&tensors, axis) } else { combine::concatenate(&tensors, axis) };
        Ok(vec![joined?.into()])
    }

    /// The sequence may be empty, its tensors may not agree.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let matrix = |rows: usize| {
            let values = (0..rows * 3).map(|v| v as f32).collect();
            Tensor::from_vec(&[rows, 3], values).expect("as many values as elements")
        };
        let list = |rows: &[usize]| Value::sequence_of(DataType::F32, rows.iter().map(|&r| matrix(r)).collect());
        let op = |axis, new_axis| ConcatFromSequence { axis, new_axis };
        vec![
            Example::new("different sizes", op(0, false)).value(list(&[2, 0, 5])),
            Example::new("last axis", op(-1, false)).value(list(&[2, 2, 2])),
            Example::new("stack in front", op(0, true)).value(list(&[2, 2])),
            Example::new("stack at the end", op(-1, true)).value(list(&[1, 1, 1])),
            Example::new("one", op(1, false)).value(list(&[3])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    #[test]
    fn joining_and_stacking() {
        let join = |axis, new_axis, items: Vec<Tensor>| {
            let inputs = [Some(Value::sequence_of(DataType::I64, items))];
            let op = ConcatFromSequence { axis, new_axis };
            let results = op.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator));
            results.map(|r| r[0].as_tensor().cloned().unwrap())
        };
        let (a, b) = (Tensor::of_i64(&[1, 2]), Tensor::of_i64(&[3, 4]));
        assert_eq!(join(0, false, vec![a.clone(), b.clone()]).unwrap(), Tensor::of_i64(&[1, 2, 3, 4]));
        let stacked = join(-1, true, vec![a, b]).unwrap();
        assert_eq!((stacked.sizes(), stacked.to_i64()), (&[2usize, 2][..], vec![1, 3, 2, 4]));
        assert!(join(0, false, vec![]).is_err());
        assert!(join(1, false, vec![Tensor::of_i64(&[1])]).is_err());
    }
}
