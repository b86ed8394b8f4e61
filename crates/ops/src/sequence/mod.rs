//! Lists of tensors, and values that may be absent.

pub mod combine;
pub mod concat_from_sequence;
pub mod optional;
pub mod sequence_at;
pub mod sequence_construct;
pub mod sequence_erase;
pub mod sequence_insert;
pub mod sequence_length;
pub mod split_to_sequence;

pub use concat_from_sequence::ConcatFromSequence;
pub use optional::{OptionalConstruct, OptionalElement, OptionalGetElement, OptionalHasElement};
pub use sequence_at::SequenceAt;
pub use sequence_construct::SequenceConstruct;
pub use sequence_erase::SequenceErase;
pub use sequence_insert::SequenceInsert;
pub use sequence_length::SequenceLength;
pub use split_to_sequence::SplitToSequence;

use sinter_base::{Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::invalid;
use crate::operands::{Arguments, Operands};

/// The element type of a sequence input.
fn element_type<'a>(inputs: &Operands<'a>, index: usize) -> Result<&'a ValueType, InferError> {
    match inputs.value(index)? {
        ValueType::Sequence(element) => Ok(element),
        other => Err(InferError::Kind { index, expected: "a sequence", found: other.to_string() }),
    }
}

/// The elements of a sequence input and their type.
fn elements<'a>(inputs: &Arguments<'a>, index: usize) -> Result<(&'a ValueType, &'a [Value]), EvalError> {
    match inputs.value(index)? {
        Value::Sequence { element, items } => Ok((element, items)),
        other => {
            let found = other.value_type().to_string();
            Err(InferError::Kind { index, expected: "a sequence", found }.into())
        }
    }
}

/// A position given as a tensor of one integer, counted from either end, in `0..=last`.
fn position(inputs: &Arguments<'_>, index: usize, length: usize, last: usize) -> Result<usize, EvalError> {
    let values = inputs.tensor(index)?.to_i64();
    let [given] = values.as_slice() else { invalid!(eval: "a position has one element, found {}", values.len()) };
    let signed = i64::try_from(length).unwrap_or(i64::MAX);
    let counted = if *given < 0 { given.saturating_add(signed) } else { *given };
    match usize::try_from(counted) {
        Ok(position) if position <= last => Ok(position),
        _ => invalid!(eval: "position {given} in a sequence of {length}"),
    }
}

/// Checks the type of a position input: one integer.
fn check_position(inputs: &Operands<'_>, index: usize) -> Result<(), InferError> {
    inputs.data_type_where(index, "i32 or i64", |t| {
        matches!(t, sinter_base::DataType::I32 | sinter_base::DataType::I64)
    })?;
    Ok(())
}
