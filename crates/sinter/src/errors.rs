//! The error types of the steps, which [`crate::Error`] wraps: for callers that match on a cause.

pub use sinter_backend::KernelError;
pub use sinter_base::TensorError;
pub use sinter_builder::{BuildError, CacheError, MemoryError, PrecisionError, RefitError, RefitProblem, TapError};
pub use sinter_import_onnx::{ImportError, Problem};
pub use sinter_passes::PassError;
pub use sinter_plan::PlanError;
pub use sinter_runtime::RuntimeError;
