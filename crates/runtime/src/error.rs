//! Errors of loading and running a plan.

use sinter_backend::KernelError;
use sinter_base::one_line;
use sinter_plan::{PlanError, ShapeError, SizeRange};

/// The error of a plan that the runtime cannot load, or of an inference that failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The file is missing or no intact plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan was built for a back end that the caller did not hand in.
    #[error("the plan needs the back end '{}'; at hand: {known}", one_line(needed))]
    BackEnd {
        /// Name in the plan.
        needed: String,
        /// Names of the back ends that the caller handed in.
        known: String,
    },
    /// The plan names a kernel that this program does not have.
    #[error("the plan needs the kernel '{}', which this program does not have; update the program", one_line(tactic))]
    Tactic {
        /// Name in the plan.
        tactic: String,
    },
    /// The back end cannot load a kernel.
    #[error("loading '{}': {source}", one_line(tactic))]
    Load {
        /// Its name.
        tactic: String,
        /// Why.
        source: KernelError,
    },
    /// The caller did not give an input that the network needs.
    #[error("input '{}' ({ty}) is not given", one_line(name))]
    MissingInput {
        /// Its name.
        name: String,
        /// Its declared type.
        ty: String,
    },
    /// The caller gave an input that the network does not have.
    #[error("the network has no input '{}'; it has {}", one_line(name), one_line(known))]
    UnknownInput {
        /// The name given.
        name: String,
        /// The names known.
        known: String,
    },
    /// The caller named an output that the network does not have.
    #[error("the network has no output '{}'; it has {}", one_line(name), one_line(known))]
    UnknownOutput {
        /// The name given.
        name: String,
        /// The names known.
        known: String,
    },
    /// An output that cannot be an input.
    #[error(
        "output '{}' ({found}) cannot be the input '{}' ({expected}) of the next run",
        one_line(output),
        one_line(input)
    )]
    FeedBack {
        /// Name of the output.
        output: String,
        /// Name of the input.
        input: String,
        /// Declared type of the output.
        found: String,
        /// Declared type of the input.
        expected: String,
    },
    /// The caller gave an input of another type than declared.
    #[error("input '{}' must be {expected}, found {found}", one_line(name))]
    InputType {
        /// Its name.
        name: String,
        /// Its declared type.
        expected: String,
        /// The type given.
        found: String,
    },
    /// Two inputs, or two axes of one input, give a named size two values.
    #[error(
        "the size '{}' would be {known} and {size} at once: {known} by input '{}', {size} by input '{}' along axis {axis}",
        one_line(symbol),
        one_line(by),
        one_line(input)
    )]
    Contradiction {
        /// The size.
        symbol: String,
        /// Its value.
        known: i64,
        /// The input that gives it this value.
        by: String,
        /// The input that gives it another value.
        input: String,
        /// The axis.
        axis: usize,
        /// The size there.
        size: i64,
    },
    /// The sizes do not meet a condition of the network.
    #[error("{}: {left} against {right}", one_line(reason))]
    Sizes {
        /// The meaning of the two sizes.
        reason: String,
        /// One size.
        left: i64,
        /// The other size.
        right: i64,
    },
    /// An input larger or smaller than the plan takes.
    #[error(
        "input '{}' has the size {size} along axis {axis} ('{}'), which may be {range}",
        one_line(input), one_line(&range.symbol)
    )]
    Range {
        /// Its name.
        input: String,
        /// The axis.
        axis: usize,
        /// Its size there.
        size: i64,
        /// The sizes that it may have.
        range: SizeRange,
    },
    /// Size arithmetic failed.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A step failed.
    #[error("{}: {source}", one_line(origin))]
    Step {
        /// Source in the model.
        origin: String,
        /// Why.
        source: KernelError,
    },
    /// A kernel panicked.
    #[error(
        "{}: the kernel '{}' panicked: {}; please report this",
        one_line(origin),
        one_line(tactic),
        one_line(message)
    )]
    Panic {
        /// Source in the model.
        origin: String,
        /// Name of the kernel's tactic.
        tactic: String,
        /// The message of the panic.
        message: String,
    },
    /// The runtime cannot use a device, or work on it failed.
    #[error("the device: {source}")]
    Device {
        /// Why.
        source: KernelError,
    },
    /// Memory of the caller is too small for its tensor, or not aligned for the elements.
    #[error(
        "the memory of '{}' has {found} bytes, where {ty} needs {needed}, aligned for its elements",
        one_line(name)
    )]
    LentMemory {
        /// The input or output.
        name: String,
        /// The tensor.
        ty: String,
        /// Bytes needed.
        needed: usize,
        /// Bytes of the memory.
        found: usize,
    },
    /// A kernel panicked in this context before.
    #[error("a kernel panicked in this context, and nobody knows what it left there; make another context")]
    Poisoned,
    /// An inference needs more memory than allowed, or than the system gives.
    #[error("these sizes need {needed} bytes for activations, {}", allowed(*needed, *limit))]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The runtime needs more memory than the system gives, for data other than activations.
    #[error("the system gives no {bytes} bytes of memory for a result")]
    OutOfMemory {
        /// Bytes needed.
        bytes: usize,
    },
    /// The bindings belong to another engine.
    #[error("the bindings belong to another engine; make them with this context's `bindings`")]
    Bindings,
    /// The plan has no self-test vectors.
    #[error("the plan carries no self-test vectors; build it with verification to have some")]
    NoSelfTest,
    /// An output differs from the expected one of a self-test vector.
    #[error("self-test: output '{}' of vector {vector} differs: {}", one_line(output), one_line(reason))]
    SelfTest {
        /// Index of the vector.
        vector: usize,
        /// Name of the output.
        output: String,
        /// The difference.
        reason: String,
    },
    /// The plan contradicts itself in a way that its reader cannot detect.
    #[error("the plan is damaged: {}", one_line(.0))]
    Damaged(String),
}

/// The reason why an allocation of so many bytes fails.
fn allowed(needed: usize, limit: usize) -> String {
    match needed > limit {
        true => format!("{limit} are allowed; give smaller inputs or allow more"),
        false => "which the system does not give; give smaller inputs".to_owned(),
    }
}

impl RuntimeError {
    /// The error of work that belongs to no known step.
    pub(crate) fn of_work(source: KernelError) -> Self {
        match source {
            KernelError::Panic { tactic, message } => Self::Panic { origin: "a step".to_owned(), tactic, message },
            source => Self::Device { source },
        }
    }

    /// Adds the name of the input or output whose memory the error is about.
    pub(crate) fn at_port(self, port: &str) -> Self {
        match self {
            Self::LentMemory { ty, needed, found, .. } => Self::LentMemory { name: port.to_owned(), ty, needed, found },
            other => other,
        }
    }

    /// The error of a step, or of a step of its bodies.
    pub(crate) fn of_step(origin: String, source: KernelError) -> Self {
        match source {
            KernelError::Panic { tactic, message } => Self::Panic { origin, tactic, message },
            source => Self::Step { origin, source },
        }
    }

    /// Converts to the error of a step that could not get its operands.
    pub(crate) fn into_kernel_error(self) -> KernelError {
        match self {
            Self::Device { source } => source,
            Self::OutOfMemory { bytes } => KernelError::Memory(format!("a value of {bytes} bytes")),
            Self::Memory { needed, .. } => KernelError::Memory(format!("a body with activations of {needed} bytes")),
            other => KernelError::Data(other.to_string()),
        }
    }

    /// Converts to the error of the step whose body failed.
    pub(crate) fn of_body(self) -> KernelError {
        match self {
            Self::Panic { tactic, message, .. } => KernelError::Panic { tactic, message },
            Self::Step { origin, source } => source.at(&origin),
            other => other.into_kernel_error(),
        }
    }
}
