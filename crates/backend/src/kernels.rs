//! Loaded kernels: each (recipe, region) once, however many steps and engines of one build have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::back_end::BackEnd;
use crate::kernel::{KernelError, Loaded};
use crate::region::{Region, RegionKey};
use crate::tactic::Recipe;
use crate::target::Target;

/// The kernels of one back end that were loaded for a target.
pub struct Kernels<'b> {
    back_end: &'b dyn BackEnd,
    target: Target,
    loaded: Mutex<HashMap<(RegionKey, String), Arc<Loaded>>>,
}

impl<'b> Kernels<'b> {
    /// None yet.
    pub fn new(back_end: &'b dyn BackEnd, target: Target) -> Self {
        Self { back_end, target, loaded: Mutex::default() }
    }

    /// Where they come from.
    pub fn back_end(&self) -> &'b dyn BackEnd {
        self.back_end
    }

    /// What they are loaded for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The kernel of a recipe for a region; loaded when it is the first of its kind.
    ///
    /// # Errors
    /// When there is no such tactic, or it cannot load the recipe.
    pub fn load(&self, recipe: &Recipe, region: &Region) -> Result<Arc<Loaded>, KernelError> {
        let key = (region.key(), recipe.to_string());
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let missing = || KernelError::Recipe(format!("there is no tactic '{}'", recipe.tactic));
        let tactic = self.back_end.tactic(&recipe.tactic).ok_or_else(missing)?;
        let loaded = Arc::new(tactic.load(recipe, region, &self.target)?);
        let mut all = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.entry(key).or_insert(loaded).clone())
    }
}
