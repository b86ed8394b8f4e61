//! Compiled and loaded kernels. A build compiles and loads each (recipe, region) once, for all its steps and engines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::back_end::BackEnd;
use crate::code::Code;
use crate::device::{Device, Loaded};
use crate::kernel::KernelError;
use crate::queue::KernelId;
use crate::region::{Region, RegionKey};
use crate::tactic::Recipe;

/// One result for each kernel, by region and recipe.
type ByRecipe<T> = Mutex<HashMap<(RegionKey, String), T>>;

/// The kernels that were compiled for, and loaded on, a device of one back end.
pub struct Kernels<'b> {
    back_end: &'b dyn BackEnd,
    device: Arc<dyn Device>,
    compiled: ByRecipe<Option<Code>>,
    loaded: ByRecipe<Arc<Loaded<KernelId>>>,
}

fn lock<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'b> Kernels<'b> {
    /// An empty collection.
    pub fn new(back_end: &'b dyn BackEnd, device: Arc<dyn Device>) -> Self {
        Self { back_end, device, compiled: Mutex::default(), loaded: Mutex::default() }
    }

    /// The back end that compiles the kernels.
    pub fn back_end(&self) -> &'b dyn BackEnd {
        self.back_end
    }

    /// The device that loads the kernels.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The machine code of a recipe for a region; `None` where the kernel is part of the program. Only the first call
    /// for a pair compiles.
    ///
    /// # Errors
    /// When the tactic does not exist or cannot compile the recipe.
    pub fn compile(&self, recipe: &Recipe, region: &Region) -> Result<Option<Code>, KernelError> {
        let key = (region.key(), recipe.to_string());
        let known = lock(&self.compiled).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let missing = || KernelError::Recipe(format!("there is no tactic '{}'", recipe.tactic));
        let tactic = self.back_end.tactic(&recipe.tactic).ok_or_else(missing)?;
        let code = tactic.compile(recipe, region, self.device.target())?;
        Ok(lock(&self.compiled).entry(key).or_insert(code).clone())
    }

    /// The kernel of a recipe for a region, with this code. Only the first call for a pair loads.
    ///
    /// # Errors
    /// When the tactic does not exist or the device cannot load the recipe.
    pub fn load(
        &self,
        recipe: &Recipe,
        region: &Region,
        code: Option<&Code>,
    ) -> Result<Arc<Loaded<KernelId>>, KernelError> {
        let key = (region.key(), recipe.to_string());
        let known = lock(&self.loaded).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let loaded = Arc::new(self.device.load(recipe, region, code)?);
        Ok(lock(&self.loaded).entry(key).or_insert(loaded).clone())
    }

    /// Compiles and loads the kernel of a recipe for a region.
    ///
    /// # Errors
    /// As [`Kernels::compile`] and [`Kernels::load`].
    pub fn make(&self, recipe: &Recipe, region: &Region) -> Result<Arc<Loaded<KernelId>>, KernelError> {
        self.load(recipe, region, self.compile(recipe, region)?.as_ref())
    }
}
