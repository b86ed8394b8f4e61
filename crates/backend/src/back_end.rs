//! Back ends: all that the builder and the runtime need to know of one kind of device.

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

    /// The target that would be used with this many threads.
    fn target(&self, threads: usize) -> Target;

    /// The model of the machine, as far as kernels take other times on another one; part of the key of timings. Empty
    /// when there is nothing to tell machines apart by.
    fn machine(&self) -> String {
        String::new()
    }

    /// Every tactic, best first within a family: order breaks ties.
    fn tactics(&self) -> Vec<&dyn Tactic>;

    /// Who proposes regions of several operators. None by default: every operator is a region then.
    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Vec::new()
    }

    /// Nanoseconds that it takes to copy so many bytes between the device and the memory of the host, waiting included.
    fn copy_time(&self, bytes: u64) -> f64 {
        // A round trip over a bus, and its bandwidth.
        10_000.0 + bytes as f64 / 16.0
    }

    /// The tactic of this name; plans refer to tactics by name.
    fn tactic(&self, name: &str) -> Option<&dyn Tactic> {
        self.tactics().into_iter().find(|tactic| tactic.name() == name)
    }

    /// The device, to be used by queues of this many threads each.
    ///
    /// # Errors
    /// When it is not there, or cannot be used.
    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError>;
}
