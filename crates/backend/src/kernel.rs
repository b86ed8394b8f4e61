//! What every kernel has, on whatever device: operands and results by index, which of them may be strided, and errors.

use sinter_base::{Rows, Value};

/// A kernel that cannot go on. Data that an operator refuses (an index out of range) is a legitimate case.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// Values that the operator does not take.
    #[error("{0}")]
    Data(String),
    /// A result of a size that is known only now, and is larger than is allowed or than the system has memory for.
    #[error("{0} needs more memory than is allowed")]
    Memory(String),
    /// A recipe that does not belong to its region, or needs what the machine lacks.
    #[error("recipe: {0}")]
    Recipe(String),
    /// The device failed, at this or at earlier work.
    #[error("the device failed: {0}")]
    Device(String),
    /// The device is gone, with all that is on it: what was opened there must be opened again.
    #[error("the device is lost: {0}; open the plan again")]
    Lost(String),
    /// A kernel that panicked, by the name of its tactic: an error of the kernel, whatever the data.
    #[error("the kernel '{tactic}' panicked: {message}; please report this")]
    Panic {
        /// Name of the tactic.
        tactic: String,
        /// What the panic said.
        message: String,
    },
}

impl KernelError {
    /// The same error of something that happens in this place.
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

/// Which strided views a kernel takes for an operand or a result. A view whose elements lie one after the other looks like
/// a whole value, aligned for its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrideSupport {
    /// None.
    Contiguous,
    /// Those whose rows are the last axis: pixels with all their channels, rows of a matrix.
    LastAxis,
    /// Rows of any length.
    Always,
}

impl StrideSupport {
    /// Does a kernel take these rows of a value of these sizes?
    pub fn admits(self, rows: Rows, sizes: &[usize]) -> bool {
        match self {
            Self::Contiguous => false,
            Self::LastAxis => sizes.last() == Some(&rows.inner),
            Self::Always => true,
        }
    }
}

/// A kernel on whole values: strings, sequences, optionals. Host only.
pub trait ValueKernel: Send + Sync {
    /// Computes the results.
    ///
    /// # Errors
    /// When the operator does not take these values.
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError>;
}
