//! Values at run time.

use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::types::{TensorType, ValueType};

/// A value that flows between operators.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// A list. `element` is the element type, also of an empty list.
    Sequence {
        /// Type of the elements, shapes unranked unless all agree.
        element: ValueType,
        /// The elements.
        items: Vec<Value>,
    },
    /// A value or nothing.
    Optional {
        /// Type of the value inside.
        element: ValueType,
        /// The value, if any.
        item: Option<Box<Value>>,
    },
}

impl Value {
    /// The tensor, when this is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The type of this very value: all dimensions concrete, small contents known.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Tensor(tensor) => ValueType::Tensor(TensorType::of(tensor)),
            Value::Sequence { element, .. } => ValueType::Sequence(Box::new(element.clone())),
            Value::Optional { element, .. } => ValueType::Optional(Box::new(element.clone())),
        }
    }

    /// A sequence of tensors of one element type.
    pub fn sequence_of(data_type: crate::DataType, items: Vec<Tensor>) -> Self {
        let element = ValueType::Tensor(TensorType::new(data_type, Shape::Unranked));
        Value::Sequence { element, items: items.into_iter().map(Value::Tensor).collect() }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Value::Tensor(tensor)
    }
}
