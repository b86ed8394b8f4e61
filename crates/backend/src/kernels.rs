//! Loaded kernels: each (recipe, region) once, however many steps and engines of one build have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::back_end::BackEnd;
use crate::device::{Device, Loaded};
use crate::kernel::KernelError;
use crate::queue::KernelId;
use crate::region::{Region, RegionKey};
use crate::tactic::Recipe;

/// Kernels by region and recipe.
type ByRecipe = HashMap<(RegionKey, String), Arc<Loaded<KernelId>>>;

/// The kernels that were loaded on a device of one back end.
pub struct Kernels<'b> {
    back_end: &'b dyn BackEnd,
    device: Arc<dyn Device>,
    loaded: Mutex<ByRecipe>,
}

impl<'b> Kernels<'b> {
    /// None yet.
    pub fn new(back_end: &'b dyn BackEnd, device: Arc<dyn Device>) -> Self {
        Self { back_end, device, loaded: Mutex::default() }
    }

    /// Where they come from.
    pub fn back_end(&self) -> &'b dyn BackEnd {
        self.back_end
    }

    /// Where they are loaded.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The kernel of a recipe for a region; loaded when it is the first of its kind.
    ///
    /// # Errors
    /// When there is no such tactic, or the device cannot load the recipe.
    pub fn load(&self, recipe: &Recipe, region: &Region) -> Result<Arc<Loaded<KernelId>>, KernelError> {
        let key = (region.key(), recipe.to_string());
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let loaded = Arc::new(self.device.load(recipe, region)?);
        let mut all = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.entry(key).or_insert(loaded).clone())
    }
}
