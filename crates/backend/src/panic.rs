//! Panics of kernels: errors of this program, which cost what the kernel was writing and nothing else.
//!
//! A kernel that panics, on whatever thread, unwinds to the thread that launched it. There the panic becomes an error, at
//! this one place. What the kernel was writing is lost: a context refuses to run again, and a build drops the kernel.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::KernelError;
use crate::rooms::NoRoom;

/// Runs a kernel of this tactic; a panic is an error that names it, and so is work that there is no room for.
///
/// # Errors
/// The kernel's own, and its panics.
pub fn caught<T>(tactic: &str, run: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    // Nothing that the kernel left half done is looked at again: the caller gives it up.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(error(tactic, &*payload)))
}

fn error(tactic: &str, payload: &(dyn Any + Send)) -> KernelError {
    match payload.downcast_ref() {
        Some(NoRoom { needed, allowed }) => {
            KernelError::Memory(format!("'{tactic}' (to work in {needed} bytes, where {allowed} are left)"))
        }
        None => KernelError::Panic { tactic: tactic.to_owned(), message: message(payload) },
    }
}

/// What a panic said; panics with anything but text are unusual.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
