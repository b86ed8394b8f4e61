//! Back ends: everything that the builder and the runtime know of one kind of device.

use std::sync::Arc;

use crate::device::Device;
use crate::kernel::KernelError;
use crate::proposer::Proposer;
use crate::tactic::Tactic;
use crate::target::Target;

/// One back end.
pub trait BackEnd: Send + Sync {
    /// First part of the names of its tactics.
    fn name(&self) -> &str;

    /// The target for queues of this many threads.
    fn target(&self, threads: usize) -> Target;

    /// Identifies the machine, as far as timings of kernels depend on it; a part of the key of timings. Empty where the
    /// back end cannot tell machines apart.
    fn machine(&self) -> String {
        String::new()
    }

    /// The devices of this machine as a person reads them, in the order of their numbers.
    ///
    /// # Errors
    /// When there is none: what was looked for.
    fn devices(&self) -> Result<Vec<String>, KernelError> {
        Ok(vec![self.machine()])
    }

    /// This back end for another device, which a user names: its number, its unique identifier, or a kind of device, for which
    /// plans are made here and run elsewhere.
    ///
    /// # Errors
    /// When there is no such device; the message says what the back end takes.
    fn selected(&self, device: &str) -> Result<Arc<dyn BackEnd>, KernelError> {
        Err(KernelError::Device(format!(
            "there is no choice among devices of '{}', and '{device}' is none",
            self.name()
        )))
    }

    /// Does this stand for a kind of device of which there is none to open? Its plans are verified where they run.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Every tactic, best first within a family: order breaks ties.
    fn tactics(&self) -> Vec<&dyn Tactic>;

    /// The proposers of fused regions. None by default: every operator is a region of its own then.
    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Vec::new()
    }

    /// Expected nanoseconds of a copy of this many bytes between the device and the host, waiting included.
    fn copy_time(&self, bytes: u64) -> f64 {
        // A round trip over a bus, and its bandwidth.
        10_000.0 + bytes as f64 / 16.0
    }

    /// The tactic of this name; plans refer to tactics by name.
    fn tactic(&self, name: &str) -> Option<&dyn Tactic> {
        self.tactics().into_iter().find(|tactic| tactic.name() == name)
    }

    /// Opens the device, for queues of this many threads each.
    ///
    /// # Errors
    /// When the device is missing or cannot be used.
    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError>;
}
