//! Panics of kernels on the host, and launches that unwind because there is no room to work in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sinter_backend::KernelError;
use sinter_backend::panic::error_of;

use crate::launch::rooms::NoRoom;

/// Runs a kernel of this tactic; a panic is an error that names it, and so is work that there is no room for.
///
/// # Errors
/// The kernel's own, and its panics.
pub fn caught<T>(tactic: &str, run: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    // Nothing that the kernel left half done is looked at again: the caller gives it up.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        Err(match payload.downcast_ref() {
            Some(NoRoom { needed, allowed }) => {
                KernelError::Memory(format!("'{tactic}' (to work in {needed} bytes, where {allowed} are left)"))
            }
            None => error_of(tactic, &*payload),
        })
    })
}
