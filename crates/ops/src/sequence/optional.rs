//! Optional values: construction, the test for a contained value, and access to it.
//!
//! Source: ONNX Optional-15, OptionalHasElement-18, OptionalGetElement-18. On values that are no optionals the last two
//! mean "yes" and "itself", which the importer resolves.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::control::join::without_contents;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};

/// Element type of an optional without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum OptionalElement {
    /// A tensor.
    Tensor {
        /// Its element type.
        data_type: DataType,
    },
    /// A list of tensors.
    Sequence {
        /// Their element type.
        data_type: DataType,
    },
}

impl OptionalElement {
    /// The element's type, shapes open.
    pub fn value_type(self) -> ValueType {
        match self {
            OptionalElement::Tensor { data_type } => ValueType::unranked(data_type),
            OptionalElement::Sequence { data_type } => ValueType::Sequence(Box::new(ValueType::unranked(data_type))),
        }
    }

    /// The element of this type; `None` for kinds that optionals do not hold.
    pub fn of(ty: &ValueType) -> Option<Self> {
        match ty {
            ValueType::Tensor(tensor) => Some(OptionalElement::Tensor { data_type: tensor.data_type }),
            ValueType::Sequence(inner) => Some(OptionalElement::Sequence { data_type: inner.as_tensor()?.data_type }),
            ValueType::Optional(_) => None,
        }
    }
}

fn optional_type<'a>(inputs: &Operands<'a>) -> Result<&'a ValueType, InferError> {
    match inputs.value(0)? {
        ValueType::Optional(element) => Ok(element),
        other => Err(InferError::Kind { index: 0, expected: "an optional", found: other.to_string() }),
    }
}

fn contained<'a>(inputs: &Arguments<'a>) -> Result<Option<&'a Value>, EvalError> {
    match inputs.value(0)? {
        Value::Optional { item, .. } => Ok(item.as_deref()),
        other => {
            let found = other.value_type().to_string();
            Err(InferError::Kind { index: 0, expected: "an optional", found }.into())
        }
    }
}

fn list(count: usize) -> Value {
    Value::sequence_of(DataType::I64, vec![Tensor::of_i64(&[4, 2]); count])
}

fn optional_of(item: Value) -> Value {
    Value::Optional { element: without_contents(&item.value_type()), item: Some(Box::new(item)) }
}

/// Wraps its input, a tensor or a sequence; nothing when it has none.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct OptionalConstruct {
    /// Type of the absent value.
    pub element: OptionalElement,
}

impl Operator for OptionalConstruct {
    const NAME: &'static str = "OptionalConstruct";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let element = match inputs.optional_value(0) {
            None => self.element.value_type(),
            Some(ty) if OptionalElement::of(ty) == Some(self.element) => without_contents(ty),
            Some(ty) => invalid!("an optional of {} cannot hold {ty}", self.element.value_type()),
        };
        Ok(vec![ValueType::Optional(Box::new(element))])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.infer(inputs, &mut InferContext::default())
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let item = inputs.optional_value(0).cloned().map(Box::new);
        Ok(vec![Value::Optional { element: self.element.value_type(), item }])
    }

    fn examples() -> Vec<Example> {
        let tensor = OptionalConstruct { element: OptionalElement::Tensor { data_type: DataType::F32 } };
        let sequence = OptionalConstruct { element: OptionalElement::Sequence { data_type: DataType::I64 } };
        vec![
            Example::new("nothing", tensor.clone()),
            Example::new("nothing, left out", sequence.clone()).absent(),
            Example::new("a tensor", tensor).float(&[3, 1]),
            Example::new("a sequence", sequence).value(list(2)),
        ]
    }
}

/// Does the optional hold something? A bool scalar.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct OptionalHasElement {}

impl Operator for OptionalHasElement {
    const NAME: &'static str = "OptionalHasElement";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        optional_type(inputs)?;
        Ok(vec![ValueType::tensor(DataType::Bool, Vec::new())])
    }

    fn unranked(&self, _inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::tensor(DataType::Bool, Vec::new())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let has = contained(inputs)?.is_some();
        Ok(vec![Tensor::scalar(DataType::Bool, f64::from(u8::from(has))).into()])
    }

    fn examples() -> Vec<Example> {
        let none = Value::Optional { element: ValueType::unranked(DataType::F32), item: None };
        vec![
            Example::new("nothing", OptionalHasElement {}).value(none),
            Example::new("a tensor", OptionalHasElement {}).value(optional_of(Tensor::of_i64(&[1]).into())),
            Example::new("an empty sequence", OptionalHasElement {}).value(optional_of(list(0))),
        ]
    }
}

/// The value that the optional contains; an error at run time when it contains none.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct OptionalGetElement {}

impl Operator for OptionalGetElement {
    const NAME: &'static str = "OptionalGetElement";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![optional_type(inputs)?.clone()])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![optional_type(inputs)?.clone()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        match contained(inputs)? {
            Some(item) => Ok(vec![item.clone()]),
            None => invalid!(eval: "the optional holds nothing"),
        }
    }

    /// It may hold nothing.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::new("a tensor", OptionalGetElement {}).value(optional_of(Tensor::of_i64(&[5, 7]).into())),
            Example::new("no elements", OptionalGetElement {}).value(optional_of(Tensor::of_i64(&[]).into())),
            Example::new("a sequence", OptionalGetElement {}).value(optional_of(list(3))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    #[test]
    fn in_and_out() {
        let cx = EvalContext::new(&ReferenceEvaluator);
        let op = OptionalConstruct { element: OptionalElement::Tensor { data_type: DataType::I64 } };
        let x = Value::from(Tensor::of_i64(&[1, 2]));
        let made = |input: Option<Value>| op.reference(&Arguments::new(&[input]), &cx).unwrap().remove(0);
        let has = |v: Value| {
            let results = OptionalHasElement {}.reference(&Arguments::new(&[Some(v)]), &cx).unwrap();
            results[0].as_tensor().unwrap().to_bools()[0]
        };
        assert!(has(made(Some(x.clone()))) && !has(made(None)));
        let taken = OptionalGetElement {}.reference(&Arguments::new(&[Some(made(Some(x.clone())))]), &cx);
        assert_eq!(taken.unwrap()[0], x);
        assert!(OptionalGetElement {}.reference(&Arguments::new(&[Some(made(None))]), &cx).is_err());
    }
}
