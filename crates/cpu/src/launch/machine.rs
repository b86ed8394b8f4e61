//! The host as a device: tactics by name, kernels behind views.

use std::sync::Arc;

use bytes::Bytes;
use sinter_backend::{Code, Device, KernelError, Loaded, Machine, Recipe, Region, Tactic, Target};

use crate::launch::kernel::{Kernel, Workers};
use crate::launch::stream::HostStream;

/// A tactic whose kernels run on the host.
pub trait HostTactic: Tactic {
    /// Loads the kernel of a recipe that this tactic offered for this region, possibly on another machine.
    ///
    /// # Errors
    /// When the recipe does not fit the region, or the machine lacks a resource of the recipe.
    fn load(&self, recipe: &Recipe, region: &Region) -> Result<super::Loaded, KernelError>;
}

/// The source of the threads of a stream.
#[derive(Clone)]
pub enum Threads {
    /// At most so many, leased from the process's pool, the caller included; see [`crate::launch::lease`].
    Leased(usize),
    /// These.
    Given(Arc<dyn Workers>),
}

/// See the module documentation.
pub struct HostMachine {
    tactics: Vec<&'static dyn HostTactic>,
    threads: Threads,
}

/// A kernel with the name of its tactic, for the messages of its panics.
pub struct HostKernel {
    pub(crate) tactic: String,
    pub(crate) kernel: Box<dyn Kernel>,
}

/// A device with these tactics.
pub fn open(tactics: Vec<&'static dyn HostTactic>, target: Target, threads: Threads) -> Arc<dyn Device> {
    sinter_backend::open(HostMachine { tactics, threads }, target)
}

impl Machine for HostMachine {
    type Kernel = HostKernel;
    type Resident = Bytes;
    type Stream = HostStream;

    fn load(&self, recipe: &Recipe, region: &Region, code: Option<&Code>) -> Result<Loaded<HostKernel>, KernelError> {
        if code.is_some() {
            return Err(KernelError::Recipe(format!("'{}' is part of the program and takes no code", recipe.tactic)));
        }
        let tactic = self.tactics.iter().find(|tactic| tactic.name() == recipe.tactic);
        let missing = || KernelError::Recipe(format!("there is no tactic '{}'", recipe.tactic));
        Ok(match tactic.ok_or_else(missing)?.load(recipe, region)? {
            Loaded::Values(kernel) => Loaded::Values(kernel),
            Loaded::Kernel(kernel) => Loaded::Kernel(HostKernel { tactic: recipe.tactic.clone(), kernel }),
        })
    }

    fn upload(&self, weight: &Bytes) -> Result<Bytes, KernelError> {
        Ok(weight.clone())
    }

    fn stream(self: &Arc<Self>) -> Result<HostStream, KernelError> {
        Ok(HostStream::new(self.threads.clone()))
    }
}
