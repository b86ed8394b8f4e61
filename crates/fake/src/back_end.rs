//! The back end: one device, whose faults and memory a test controls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sinter_backend::{BackEnd, Device, KernelError, Tactic, Target, open};

use crate::faults::Faults;
use crate::machine::FakeMachine;
use crate::memory::Account;
use crate::tactics::{Reference, all};

/// See the module documentation.
pub struct Fake {
    pub(crate) faults: Arc<Faults>,
    pub(crate) account: Arc<Account>,
    pub(crate) loads: Arc<AtomicUsize>,
    pub(crate) captures: Arc<AtomicUsize>,
    pub(crate) replays: Arc<AtomicUsize>,
    compiles: Arc<AtomicUsize>,
    tactics: Vec<Reference>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::with_memory(usize::MAX)
    }
}

impl Fake {
    /// A device with this many bytes of memory.
    pub fn with_memory(bytes: usize) -> Self {
        let compiles = Arc::default();
        Self {
            tactics: all(&compiles),
            compiles,
            faults: Arc::default(),
            account: Account::of(bytes),
            loads: Arc::default(),
            captures: Arc::default(),
            replays: Arc::default(),
        }
    }

    /// Its fault injection.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Its memory account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How often work was recorded so far, and how often recorded work was replayed.
    pub fn captures(&self) -> (usize, usize) {
        (self.captures.load(Ordering::Relaxed), self.replays.load(Ordering::Relaxed))
    }

    /// Kernels that were compiled so far.
    pub fn compiles(&self) -> usize {
        self.compiles.load(Ordering::Relaxed)
    }

    /// Kernels that were loaded so far.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }
}

impl BackEnd for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn target(&self, threads: usize) -> Target {
        Target::unknown("fake", "reference", threads)
    }

    fn tactics(&self) -> Vec<&dyn Tactic> {
        self.tactics.iter().map(|tactic| tactic as &dyn Tactic).collect()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Ok(open(FakeMachine::new(self), self.target(threads)))
    }
}
