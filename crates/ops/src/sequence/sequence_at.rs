//! The tensor at a position of a list.
//!
//! Inputs: sequence of n tensors; position, one integer in `-n..n`. Source: ONNX SequenceAt-11.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};
use crate::sequence::{check_position, element_type, elements, position};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct SequenceAt {}

impl Operator for SequenceAt {
    const NAME: &'static str = "SequenceAt";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        check_position(inputs, 1)?;
        // A size that the element type leaves open may differ from element to element.
        let mut result = element_type(inputs, 0)?.clone();
        if let ValueType::Tensor(tensor) = &mut result
            && let sinter_base::Shape::Ranked(dims) = &mut tensor.shape
        {
            for dim in dims.iter_mut().filter(|d| d.as_symbol().is_some_and(|name| name.starts_with('?'))) {
                *dim = cx.fresh("element");
            }
        }
        Ok(vec![result])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![element_type(inputs, 0)?.clone()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (_, items) = elements(inputs, 0)?;
        let Some(last) = items.len().checked_sub(1) else { invalid!(eval: "an empty sequence has no elements") };
        Ok(vec![items[position(inputs, 1, items.len(), last)?].clone()])
    }

    /// Positions may lie outside.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let list = || {
            let items = vec![Tensor::of_i64(&[1]), Tensor::of_i64(&[2, 3]), Tensor::of_i64(&[])];
            Value::sequence_of(DataType::I64, items)
        };
        let at = |v: f64| Tensor::scalar(DataType::I64, v);
        let op = SequenceAt {};
        vec![
            Example::new("first", op.clone()).value(list()).tensor(at(0.0)),
            Example::new("last, empty", op.clone()).value(list()).tensor(at(-1.0)),
            Example::new("position of 32 bits", op).value(list()).tensor(Tensor::scalar(DataType::I32, 1.0)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    #[test]
    fn positions_count_from_either_end() {
        let at = |at: i64| {
            let list = Value::sequence_of(DataType::I64, vec![Tensor::of_i64(&[7]), Tensor::of_i64(&[8])]);
            let inputs = [Some(list), Some(Tensor::of_i64(&[at]).into())];
            SequenceAt {}.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator))
        };
        assert_eq!(at(0).unwrap()[0].as_tensor().unwrap().to_i64(), [7]);
        assert_eq!(at(-1).unwrap()[0].as_tensor().unwrap().to_i64(), [8]);
        assert!(at(2).is_err());
        assert!(at(i64::MIN).is_err());
    }
}
