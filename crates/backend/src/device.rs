//! Back ends and the devices that they drive.

use std::fmt;
use std::sync::Arc;

use crate::kernel::Workers;
use crate::tactic::Tactic;

/// What choices depend on: recorded in the plan, so that an untuned build reads no clock and no machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Back end, `cpu` say.
    pub back_end: String,
    /// Instruction set tier or compute capability, `avx512` say.
    pub tier: String,
    /// Threads that a kernel may use.
    pub threads: usize,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.threads == 1 { "" } else { "s" };
        write!(f, "{}.{} with {} thread{plural}", self.back_end, self.tier, self.threads)
    }
}

/// One back end.
pub trait BackEnd: Send + Sync {
    /// First part of the names of its tactics.
    fn name(&self) -> &'static str;

    /// The device that would be used with this many threads.
    fn device(&self, threads: usize) -> Device;

    /// The model of the machine, as far as kernels take other times on another one; part of the key of timings. Empty
    /// when there is nothing to tell machines apart by.
    fn machine(&self) -> String {
        String::new()
    }

    /// Every tactic, best first within a family: order breaks ties.
    fn tactics(&self) -> Vec<&'static dyn Tactic>;

    /// The tactic of this name; plans refer to tactics by name.
    fn tactic(&self, name: &str) -> Option<&'static dyn Tactic> {
        self.tactics().into_iter().find(|t| t.name() == name)
    }

    /// Threads to run kernels on.
    fn workers(&self, threads: usize) -> Arc<dyn Workers>;
}
