//! Panics of kernels: errors of this program, which cost the context that they happen in and nothing else.
//!
//! A kernel that panics, on whatever thread, unwinds to the thread that launched it. There the panic becomes an error, at
//! this one place. What the kernel was writing is lost, so the context refuses to run again, and a pool drops it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sinter_backend::KernelError;
use sinter_plan::{Action, Step};

/// Runs a step; a panic is an error that names its kernel.
pub(crate) fn caught(step: &Step, run: impl FnOnce() -> Result<(), KernelError>) -> Result<(), KernelError> {
    // Nothing that the kernel left half done is looked at again: the context is given up.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let tactic = match &step.action {
            Action::Kernel { recipe, .. } => recipe.tactic.clone(),
            Action::Placed { .. } | Action::Control { .. } => "control flow".to_owned(),
        };
        Err(KernelError::Panic { tactic, message: message(&*payload) })
    })
}

/// What a panic said; panics with anything but text are unusual.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
