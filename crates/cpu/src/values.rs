//! Helpers of kernels on whole values: operands by position and kind, and errors about data.

use std::fmt::Display;

use sinter_backend::KernelError;
use sinter_base::{Tensor, Value, ValueType};

/// An error of data.
pub fn data(error: impl Display) -> KernelError {
    KernelError::Data(error.to_string())
}

/// An operand that may be left out.
pub fn optional(inputs: &[Option<Value>], index: usize) -> Option<&Value> {
    inputs.get(index).and_then(Option::as_ref)
}

/// An operand that must be there.
///
/// # Errors
/// When it is left out.
pub fn value(inputs: &[Option<Value>], index: usize) -> Result<&Value, KernelError> {
    optional(inputs, index).ok_or_else(|| KernelError::Data(format!("operand {index} is missing")))
}

/// An operand that must be a tensor.
///
/// # Errors
/// When it is left out or something else.
pub fn tensor(inputs: &[Option<Value>], index: usize) -> Result<&Tensor, KernelError> {
    let value = value(inputs, index)?;
    value.as_tensor().ok_or_else(|| KernelError::Data(format!("operand {index} is {}, no tensor", value.value_type())))
}

/// A tensor operand that may be left out.
///
/// # Errors
/// When it is no tensor.
pub fn optional_tensor(inputs: &[Option<Value>], index: usize) -> Result<Option<&Tensor>, KernelError> {
    if optional(inputs, index).is_none() { Ok(None) } else { tensor(inputs, index).map(Some) }
}

/// Type and elements of a sequence operand.
///
/// # Errors
/// When it is left out or no sequence.
pub fn sequence(inputs: &[Option<Value>], index: usize) -> Result<(&ValueType, &[Value]), KernelError> {
    match value(inputs, index)? {
        Value::Sequence { element, items } => Ok((element, items)),
        other => Err(KernelError::Data(format!("operand {index} is {}, no sequence", other.value_type()))),
    }
}

/// An axis counted from either end, as a position.
///
/// # Errors
/// When there is no such axis.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let found = usize::try_from(counted).ok().filter(|a| *a < rank);
    found.ok_or_else(|| KernelError::Data(format!("axis {axis} of a tensor of {rank} dimensions")))
}
