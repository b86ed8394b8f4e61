//! The number of tensors in a list, as an i64 scalar. Source: ONNX SequenceLength-11.

use sinter_base::{Attributes, DataType, KnownValue, Tensor, TensorType, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;
use crate::sequence::{element_type, elements};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct SequenceLength {}

impl Operator for SequenceLength {
    const NAME: &'static str = "SequenceLength";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        element_type(inputs, 0)?;
        // The length has a name, so that sizes made from it stay related to each other.
        let known = KnownValue::Ints(vec![cx.fresh("length")]);
        Ok(vec![TensorType::ranked(DataType::I64, Vec::new()).with_value(known).into()])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        element_type(inputs, 0)?;
        Ok(vec![ValueType::tensor(DataType::I64, Vec::new())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let length = elements(inputs, 0)?.1.len();
        Ok(vec![Tensor::from_ints(DataType::I64, &[], &[length as i128])?.into()])
    }

    fn examples() -> Vec<Example> {
        let list = |n: usize| Value::sequence_of(DataType::I64, vec![Tensor::of_i64(&[1]); n]);
        [0, 1, 5].map(|n| Example::new("a list", SequenceLength {}).value(list(n))).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    #[test]
    fn tensors_are_counted() {
        for example in SequenceLength::examples() {
            let inputs = example.values(1);
            let Some(Value::Sequence { items, .. }) = &inputs[0] else { panic!("a sequence") };
            let results = SequenceLength {}.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator));
            let count = results.unwrap()[0].as_tensor().unwrap().to_i64();
            assert_eq!(count, [i64::try_from(items.len()).unwrap()]);
        }
    }
}
