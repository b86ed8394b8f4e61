//! A list without the tensor at a position.
//!
//! Inputs: sequence of n tensors; position, one integer in `-n..n`, optional: the last. Source: ONNX SequenceErase-11.

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
pub struct SequenceErase {}

impl Operator for SequenceErase {
    const NAME: &'static str = "SequenceErase";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        element_type(inputs, 0)?;
        if inputs.has(1) {
            check_position(inputs, 1)?;
        }
        Ok(vec![inputs.value(0)?.clone()])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![inputs.value(0)?.clone()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (element, items) = elements(inputs, 0)?;
        let Some(last) = items.len().checked_sub(1) else { invalid!(eval: "nothing to erase from an empty sequence") };
        let at = if inputs.has(1) { position(inputs, 1, items.len(), last)? } else { last };
        let mut items = items.to_vec();
        items.remove(at);
        Ok(vec![Value::Sequence { element: element.clone(), items }])
    }

    /// Positions may lie outside.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let one = |v: f32| Tensor::from_vec(&[1], vec![v]).expect("one element");
        let list = || Value::sequence_of(DataType::F32, vec![one(1.0), one(2.0), one(3.0)]);
        let at = |v: f64| Tensor::scalar(DataType::I64, v);
        let op = SequenceErase {};
        vec![
            Example::new("the last", op.clone()).value(list()).absent(),
            Example::new("the first", op.clone()).value(list()).tensor(at(0.0)),
            Example::new("counted from the end", op).value(list()).tensor(at(-2.0)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    #[test]
    fn positions_must_exist() {
        let erase = |count: i64, at: i64| {
            let list = Value::sequence_of(DataType::I64, (0..count).map(|v| Tensor::of_i64(&[v])).collect());
            let inputs = [Some(list), Some(Tensor::of_i64(&[at]).into())];
            let results = SequenceErase {}.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator));
            results.map(|r| match &r[0] {
                Value::Sequence { items, .. } => items.iter().map(|i| i.as_tensor().unwrap().to_i64()[0]).collect(),
                _ => Vec::new(),
            })
        };
        assert_eq!(erase(3, 1).unwrap(), [0, 2]);
        assert_eq!(erase(3, -3).unwrap(), [1, 2]);
        assert!(erase(3, 3).is_err());
        assert!(erase(0, 0).is_err());
    }
}
