//! A list of the inputs, in order; without inputs, an empty list of tensors of `data_type`.
//!
//! Inputs: any number of tensors of one element type. Source: ONNX SequenceConstruct-11, SequenceEmpty-11.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::control::join::{join, without_contents};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct SequenceConstruct {
    /// Element type of the tensors.
    pub data_type: DataType,
}

impl SequenceConstruct {
    fn check(&self, inputs: &Operands<'_>) -> Result<(), InferError> {
        for index in 0..inputs.len() {
            inputs.data_type_where(index, &self.data_type.to_string(), |t| t == self.data_type)?;
        }
        Ok(())
    }
}

impl Operator for SequenceConstruct {
    const NAME: &'static str = "SequenceConstruct";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs)?;
        let mut element = match inputs.optional_value(0) {
            Some(first) => without_contents(first),
            None => ValueType::unranked(self.data_type),
        };
        for index in 1..inputs.len() {
            element = join(&element, &without_contents(inputs.value(index)?), cx)?;
        }
        Ok(vec![ValueType::Sequence(Box::new(element))])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs)?;
        Ok(vec![ValueType::Sequence(Box::new(ValueType::unranked(self.data_type)))])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let tensors = (0..inputs.len()).map(|i| inputs.tensor(i).cloned()).collect::<Result<Vec<Tensor>, _>>()?;
        Ok(vec![Value::sequence_of(self.data_type, tensors)])
    }

    fn examples() -> Vec<Example> {
        let op = SequenceConstruct { data_type: DataType::F32 };
        vec![
            Example::new("empty", op.clone()),
            Example::new("one", op.clone()).float(&[3]),
            Example::new("different ranks", op).float(&[2, 3]).float(&[0]).float(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::infer_of;

    #[test]
    fn the_element_type_fits_all_inputs() {
        let op = SequenceConstruct { data_type: DataType::F32 };
        let ty = |dims: &[i64]| ValueType::tensor(DataType::F32, dims.iter().map(|&d| d.into()).collect());
        assert_eq!(infer_of(&op, &[&ty(&[2]), &ty(&[2])]).unwrap()[0].to_string(), "sequence<f32[2]>");
        assert_eq!(infer_of(&op, &[&ty(&[2]), &ty(&[])]).unwrap()[0].to_string(), "sequence<f32[..]>");
        assert_eq!(infer_of(&op, &[]).unwrap()[0].to_string(), "sequence<f32[..]>");
        assert!(infer_of(&op, &[&ValueType::unranked(DataType::I32)]).is_err());
    }
}
