//! Compiled and loaded kernels: each (recipe, region) once, however many steps and engines of one build have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::back_end::BackEnd;
use crate::code::Code;
use crate::device::{Device, Loaded};
use crate::kernel::KernelError;
use crate::queue::KernelId;
use crate::region::{Region, RegionKey};
use crate::tactic::Recipe;

/// Something of each kernel, by region and recipe.
type ByRecipe<T> = Mutex<HashMap<(RegionKey, String), T>>;

/// The kernels that were compiled for, or loaded on, a device of one back end.
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
    /// None yet.
    pub fn new(back_end: &'b dyn BackEnd, device: Arc<dyn Device>) -> Self {
        Self { back_end, device, compiled: Mutex::default(), loaded: Mutex::default() }
    }

    /// Where they come from.
    pub fn back_end(&self) -> &'b dyn BackEnd {
        self.back_end
    }

    /// Where they are loaded.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The machine code of a recipe for a region; compiled when it is the first of its kind, `None` where the kernel is part
    /// of the program.
    ///
    /// # Errors
    /// When there is no such tactic, or it cannot compile the recipe.
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

    /// The kernel of a recipe for a region, of this code; loaded when it is the first of its kind.
    ///
    /// # Errors
    /// When there is no such tactic, or the device cannot load the recipe.
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

    /// The kernel of a recipe for a region, compiled and loaded.
    ///
    /// # Errors
    /// As [`Kernels::compile`] and [`Kernels::load`].
    pub fn make(&self, recipe: &Recipe, region: &Region) -> Result<Arc<Loaded<KernelId>>, KernelError> {
        self.load(recipe, region, self.compile(recipe, region)?.as_ref())
    }
}
