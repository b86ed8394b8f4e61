//! Kernels on any device: operands and results by index, their stride support, and errors.

use sinter_base::{Rows, Value};

/// Why a kernel failed. Data that an operator refuses (an index out of range) is a legitimate case.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// Values that the operator refuses.
    #[error("{0}")]
    Data(String),
    /// A result whose size only the kernel knows needs more memory than is allowed, or than the system has.
    #[error("{0} needs more memory than is allowed")]
    Memory(String),
    /// A recipe that does not fit its region, or needs features that the machine lacks.
    #[error("recipe: {0}")]
    Recipe(String),
    /// The device failed, in this or in earlier work.
    #[error("the device failed: {0}")]
    Device(String),
    /// The device is lost with its memory; the caller must open the plan again.
    #[error("the device is lost: {0}; open the plan again")]
    Lost(String),
    /// A kernel panicked: an error of the kernel for any data.
    #[error("the kernel '{tactic}' panicked: {message}; please report this")]
    Panic {
        /// Name of the tactic.
        tactic: String,
        /// The panic's message.
        message: String,
    },
}

impl KernelError {
    /// The same error, with this place in front of its text.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        let add = |what: String| format!("{place}: {what}");
        match self {
            Self::Data(what) => Self::Data(add(what)),
            Self::Memory(what) => Self::Memory(add(what)),
            Self::Recipe(what) => Self::Recipe(add(what)),
            Self::Device(what) => Self::Device(add(what)),
            Self::Lost(what) => Self::Lost(add(what)),
            Self::Panic { .. } => self,
        }
    }
}

/// An operand or a result of a kernel, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// An operand.
    Operand(usize),
    /// A result.
    Result(usize),
}

/// Which strided views a kernel takes for an operand or a result. A contiguous view counts as a whole value; it is
/// aligned for its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrideSupport {
    /// No strided views.
    Contiguous,
    /// Views whose rows are the last axis: pixels with all their channels, rows of a matrix.
    LastAxis,
    /// Views with rows of any length.
    Always,
}

impl StrideSupport {
    /// Does the kernel take a view with these rows of a value of these sizes?
    pub fn admits(self, rows: Rows, sizes: &[usize]) -> bool {
        match self {
            Self::Contiguous => false,
            Self::LastAxis => sizes.last() == Some(&rows.inner),
            Self::Always => true,
        }
    }
}

/// A kernel on whole values of the host: strings, sequences, optionals.
pub trait ValueKernel: Send + Sync {
    /// Computes the results.
    ///
    /// # Errors
    /// When the operator refuses these values.
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError>;
}
