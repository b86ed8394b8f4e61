//! Fault injection: a chosen call of the device fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sinter_backend::KernelError;

/// The kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A launched kernel fails: the first one at this call or after it.
    Launch,
    /// An allocation fails: the first one at this call or after it.
    Memory,
    /// The device is lost with its memory.
    Lost,
}

/// The kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Launch,
    Memory,
    Other,
}

/// Counts the calls of a device, and holds the injected fault.
#[derive(Debug, Default)]
pub struct Faults {
    calls: AtomicU64,
    next: Mutex<Option<(u64, Fault)>>,
    is_lost: AtomicBool,
}

fn lost() -> KernelError {
    KernelError::Lost("the test lost it on command".to_owned())
}

impl Faults {
    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Injects a fault at the call of this index, counted from the next one on, or at the first later call where the
    /// fault can happen.
    pub fn inject(&self, call: u64, fault: Fault) {
        *self.next() = Some((self.calls().saturating_add(call), fault));
    }

    /// Removes a fault that did not happen yet; was there one?
    pub fn clear(&self) -> bool {
        self.next().take().is_some()
    }

    /// Revives a lost device as a new one, whose memory is empty.
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
