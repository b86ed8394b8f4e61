//! Panics of kernels on the host, and launches that unwind because no scratch memory is left.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sinter_backend::KernelError;
use sinter_backend::panic::error_of;

use crate::launch::scratch::OutOfScratch;

/// Runs a kernel of this tactic; a panic is an error that names it, and so is a kernel that finds no scratch memory.
///
/// # Errors
/// The kernel's own, and its panics.
pub fn caught<T>(tactic: &str, run: impl FnOnce() -> Result<T, KernelError>) -> Result<T, KernelError> {
    // The caller discards the queue of a failed launch, so no later launch reads the kernel's partial results.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        Err(match payload.downcast_ref() {
            Some(OutOfScratch { needed, limit }) => {
                KernelError::Memory(format!("'{tactic}' (scratch memory of {needed} bytes, over the limit of {limit})"))
            }
            None => error_of(tactic, &*payload),
        })
    })
}
