//! Axes given as signed numbers: counted from the front, or from the end when negative.

use sinter_base::{DataType, Dim, Sizes, Tensor};

use crate::error::{EvalError, InferError};
use crate::invalid;
use crate::operands::Operands;

/// The axis as a position in `0..rank`.
///
/// # Errors
/// When it lies outside `-rank..rank`.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, InferError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let position = if axis < 0 { axis.saturating_add(signed) } else { axis };
    match usize::try_from(position) {
        Ok(position) if position < rank => Ok(position),
        _ => invalid!("axis {axis} does not exist in a tensor of {rank} dimensions"),
    }
}

/// The axes as positions in `0..rank`, in the order given.
///
/// # Errors
/// When one lies outside `-rank..rank` or comes twice.
pub fn distinct_axes(axes: &[i64], rank: usize) -> Result<Sizes, InferError> {
    let mut positions = Sizes::new();
    for &axis in axes {
        let position = axis_of(axis, rank)?;
        if positions.contains(&position) {
            invalid!("axis {axis} is given twice among {axes:?}");
        }
        positions.push(position);
    }
    Ok(positions)
}

/// Checks that an operand is a list (or a scalar, read as a list of one) of i32 or i64, and returns its length.
///
/// # Errors
/// When the operand is left out, of another type, of more than one dimension, or of unknown rank.
pub fn list_length(inputs: &Operands<'_>, index: usize) -> Result<Dim, InferError> {
    inputs.data_type_where(index, "i32 or i64", is_index_type)?;
    match inputs.dims(index)? {
        [] => Ok(Dim::constant(1)),
        [length] => Ok(length.clone()),
        more => Err(InferError::Rank { index, expected: "at most 1".to_owned(), found: more.len() }),
    }
}

/// Element types of axes, sizes and indices.
pub fn is_index_type(data_type: DataType) -> bool {
    matches!(data_type, DataType::I32 | DataType::I64)
}

/// The elements of a tensor of axes, sizes or indices.
///
/// # Errors
/// When it has no integer type.
pub fn int_values(tensor: &Tensor) -> Result<Vec<i64>, EvalError> {
    if tensor.data_type().is_integer() {
        Ok(tensor.to_i64())
    } else {
        invalid!(eval: "axes, sizes and indices must be integers, found {}", tensor.data_type())
    }
}

/// The tensor, when its elements are numbers or truth values.
///
/// # Errors
/// When they are strings.
pub fn numeric(tensor: &Tensor) -> Result<&Tensor, EvalError> {
    if tensor.data_type() == DataType::String {
        invalid!(eval: "numbers are needed, found strings");
    }
    Ok(tensor)
}

/// An index counted from the front or, when negative, from the end, as a position in `0..size`.
pub fn wrapped_index(index: i64, size: usize) -> Option<usize> {
    let signed = i64::try_from(size).unwrap_or(i64::MAX);
    let position = if index < 0 { index.saturating_add(signed) } else { index };
    usize::try_from(position).ok().filter(|&p| p < size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis_of(-1, 3).unwrap(), 2);
        assert_eq!(distinct_axes(&[0, -1], 3).unwrap().as_slice(), [0, 2]);
        assert!(axis_of(3, 3).is_err());
        assert!(axis_of(i64::MIN, 3).is_err());
        assert!(distinct_axes(&[2, -1], 3).is_err());
        assert_eq!(wrapped_index(-4, 3), None);
        assert_eq!(wrapped_index(-3, 3), Some(0));
    }
}
