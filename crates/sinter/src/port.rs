//! Inputs and outputs of models, plans and engines.

use std::fmt;

use sinter_base::{DataType, Dim, ValueType, one_line};

/// A named input or output and its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name that the model gives it.
    pub name: String,
    /// Its type. Dimensions of a tensor are numbers, names (dynamic dimensions), or expressions over names.
    pub ty: ValueType,
}

impl Port {
    /// The element type; that of the elements of a sequence or optional.
    pub fn data_type(&self) -> DataType {
        self.ty.data_type()
    }

    /// The dimensions of a tensor; `None` for other values, and for a tensor whose rank is known at run time only.
    pub fn dims(&self) -> Option<&[Dim]> {
        self.ty.as_tensor()?.dims().ok()
    }
}

/// `image: f32[N, 1, 8, 8]`
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", one_line(&self.name), self.ty)
    }
}
