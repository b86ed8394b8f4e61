//! A list with one more tensor.
//!
//! Inputs: sequence; tensor of its element type; position, one integer in `-n..=n`, optional: the end. What stood at
//! the position and after it moves back. Source: ONNX SequenceInsert-11.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::control::join::{join, without_contents};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};
use crate::sequence::{check_position, element_type, elements, position};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct SequenceInsert {}

impl Operator for SequenceInsert {
    const NAME: &'static str = "SequenceInsert";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let element = element_type(inputs, 0)?;
        let inserted: ValueType = inputs.tensor(1)?.clone().into();
        if inputs.has(2) {
            check_position(inputs, 2)?;
        }
        Ok(vec![ValueType::Sequence(Box::new(join(element, &without_contents(&inserted), cx)?))])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![inputs.value(0)?.clone()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (element, items) = elements(inputs, 0)?;
        let inserted = inputs.tensor(1)?;
        if inserted.data_type() != element.data_type() {
            let expected = element.data_type().to_string();
            return Err(InferError::DataType { index: 1, expected, found: inserted.data_type() }.into());
        }
        let at = if inputs.has(2) { position(inputs, 2, items.len(), items.len())? } else { items.len() };
        let mut items = items.to_vec();
        items.insert(at, inserted.clone().into());
        let element = ValueType::unranked(element.data_type());
        Ok(vec![Value::Sequence { element, items }])
    }

    /// Positions may lie outside.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let one = |v: f32| Tensor::from_vec(&[1], vec![v]).expect("one element");
        let list = || Value::sequence_of(DataType::F32, vec![one(1.0), one(2.0)]);
        let at = |v: f64| Tensor::scalar(DataType::I64, v);
        let op = SequenceInsert {};
        vec![
            Example::new("at the end", op.clone()).value(list()).float(&[2, 3]).absent(),
            Example::new("in front", op.clone()).value(list()).float(&[1]).tensor(at(0.0)),
            Example::new("before the last", op.clone()).value(list()).float(&[0]).tensor(at(-1.0)),
            Example::new("into an empty list", op).value(Value::sequence_of(DataType::F32, vec![])).float(&[3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    #[test]
    fn positions_count_from_either_end() {
        let one = |v: i64| Tensor::of_i64(&[v]);
        let insert = |at: i64| {
            let list = Value::sequence_of(DataType::I64, vec![one(1), one(2)]);
            let inputs = [Some(list), Some(one(9).into()), Some(one(at).into())];
            let results = SequenceInsert {}.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator));
            results.map(|r| match &r[0] {
                Value::Sequence { items, .. } => items.iter().map(|i| i.as_tensor().unwrap().to_i64()[0]).collect(),
                _ => Vec::new(),
            })
        };
        assert_eq!(insert(0).unwrap(), [9, 1, 2]);
        assert_eq!(insert(2).unwrap(), [1, 2, 9]);
        assert_eq!(insert(-1).unwrap(), [1, 9, 2]);
        assert!(insert(3).is_err());
        assert!(insert(-3).is_err());
    }
}
