//! Panics of kernels become errors, which cost only the memory that the kernel was writing.
//!
//! A panic unwinds, from any thread, to the thread that launched the kernel. There this file turns it into an error.
//! The contents that the kernel was writing are lost: the context refuses to run again, and a build drops the kernel.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::KernelError;

/// Runs a kernel of this tactic, and turns a panic into an error that names the tactic.
///
/// # Errors
/// The kernel's own errors, and its panics.
pub fn caught<T>(tactic: &str, run: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    // The caller discards everything that the kernel left half written.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(error_of(tactic, &*payload)))
}

/// Turns the panic of a kernel of this tactic into an error.
pub fn error_of(tactic: &str, payload: &(dyn Any + Send)) -> KernelError {
    // Panics carry text, with rare exceptions.
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    KernelError::Panic { tactic: tactic.to_owned(), message: text.unwrap_or("no message").to_owned() }
}
