//! Errors of operators about their inputs.

use sinter_base::shape::{BroadcastError, Unranked};
use sinter_base::{DataType, TensorError};

/// Types that an operator does not accept. The caller adds the location: the node and its names.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InferError {
    /// An input that the operator needs was left out.
    #[error("input {index} is missing")]
    MissingInput {
        /// Position of the input.
        index: usize,
    },
    /// A sequence where a tensor is needed, or the like.
    #[error("input {index} must be {expected}, found {found}")]
    Kind {
        /// Position of the input.
        index: usize,
        /// Inputs that the operator accepts.
        expected: &'static str,
        /// The type found, in words.
        found: String,
    },
    /// An element type that the operator does not support.
    #[error("input {index} must have data type {expected}, found {found}")]
    DataType {
        /// Position of the input.
        index: usize,
        /// Inputs that the operator accepts.
        expected: String,
        /// The type found.
        found: DataType,
    },
    /// A wrong number of dimensions.
    #[error("input {index} must have {expected} dimensions, found {found}")]
    Rank {
        /// Position of the input.
        index: usize,
        /// Inputs that the operator accepts.
        expected: String,
        /// The number found.
        found: usize,
    },
    /// The rank of an input is not known; the caller falls back to unranked results.
    #[error(transparent)]
    Unranked(#[from] Unranked),
    /// Shapes that do not broadcast.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// Sizes or attributes that contradict each other; the message carries the numbers.
    #[error("{0}")]
    Invalid(String),
}

/// A failed evaluation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// The types of the actual inputs do not fit.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// More memory than allowed.
    #[error("{needed} bytes of values are needed at once, {allowed} are allowed: give --max-memory to allow more")]
    Memory {
        /// Bytes in all.
        needed: u64,
        /// The bound.
        allowed: u64,
    },
    /// A loop that exceeds the step limit.
    #[error("more than {allowed} operators run, those in loops counted every time")]
    Steps {
        /// The bound.
        allowed: u64,
    },
    /// Values that the operator does not accept: an index out of range, a malformed image.
    #[error("{0}")]
    Invalid(String),
}

impl From<Unranked> for EvalError {
    fn from(error: Unranked) -> Self {
        EvalError::Infer(error.into())
    }
}

/// Returns early with [`InferError::Invalid`] or [`EvalError::Invalid`], formatted.
#[macro_export]
macro_rules! invalid {
    (eval: $($arg:tt)*) => { return Err($crate::EvalError::Invalid(format!($($arg)*))) };
    ($($arg:tt)*) => { return Err($crate::InferError::Invalid(format!($($arg)*))) };
}
