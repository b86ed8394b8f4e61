//! Panics of kernels: errors of this program, which cost what the kernel was writing and nothing else.
//!
//! A kernel that panics, on whatever thread, unwinds to the thread that launched it. There the panic becomes an error, at
//! this one place. What the kernel was writing is lost: a context refuses to run again, and a build drops the kernel.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::KernelError;

/// Runs a kernel of this tactic; a panic is an error that names it.
///
/// # Errors
/// The kernel's own, and its panics.
pub fn caught<T>(tactic: &str, run: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    // Nothing that the kernel left half done is looked at again: the caller gives it up.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(error_of(tactic, &*payload)))
}

/// The panic of a kernel of this tactic as an error.
pub fn error_of(tactic: &str, payload: &(dyn Any + Send)) -> KernelError {
    // Panics with anything but text are unusual.
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    KernelError::Panic { tactic: tactic.to_owned(), message: text.unwrap_or("no message").to_owned() }
}
