//! Failing on command: at the n-th call of the device, whatever it is about.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sinter_backend::KernelError;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A launched kernel fails: the first one at this call or after it.
    Launch,
    /// No memory is left: for the first request at this call or after it.
    Memory,
    /// The device is gone, with all that is on it.
    Lost,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Launch,
    Memory,
    Other,
}

/// The calls of a device so far, and the one that will fail.
#[derive(Debug, Default)]
pub struct Faults {
    calls: AtomicU64,
    next: Mutex<Option<(u64, Fault)>>,
    is_lost: AtomicBool,
}

fn lost() -> KernelError {
    KernelError::Lost("it was told to go".to_owned())
}

impl Faults {
    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Lets the call of this number fail, counted from the next one on; the first that the fault can happen to, if that is
    /// a later one.
    pub fn inject(&self, call: u64, fault: Fault) {
        *self.next() = Some((self.calls().saturating_add(call), fault));
    }

    /// Takes back what was injected and did not happen yet; was there something?
    pub fn clear(&self) -> bool {
        self.next().take().is_some()
    }

    /// Brings a lost device back, as another device: what was on it is gone.
    pub fn revive(&self) {
        self.is_lost.store(false, Ordering::Relaxed);
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<(u64, Fault)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call.
    pub(crate) fn call(&self, call: Call) -> Result<(), KernelError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.is_lost.load(Ordering::Relaxed) {
            return Err(lost());
        }
        let mut next = self.next();
        let Some((at, fault)) = *next else { return Ok(()) };
        let error = match (fault, call) {
            _ if number < at => return Ok(()),
            (Fault::Launch, Call::Launch) => KernelError::Device("a launch failed on command".to_owned()),
            (Fault::Memory, Call::Memory) => KernelError::Memory("a block that was refused on command".to_owned()),
            (Fault::Lost, _) => {
                self.is_lost.store(true, Ordering::Relaxed);
                lost()
            }
            _ => return Ok(()),
        };
        *next = None;
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_that_can_fail_so_does() {
        let faults = Faults::default();
        faults.inject(1, Fault::Memory);
        let fates = [Call::Memory, Call::Launch, Call::Memory, Call::Memory].map(|call| faults.call(call).is_ok());
        assert_eq!((fates, faults.calls()), ([true, true, false, true], 4));
        faults.inject(0, Fault::Lost);
        assert!((0..3).all(|_| matches!(faults.call(Call::Other), Err(KernelError::Lost(_)))));
        faults.revive();
        assert!(faults.call(Call::Other).is_ok() && !faults.clear());
    }
}
