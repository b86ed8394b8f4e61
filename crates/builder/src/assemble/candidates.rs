//! Candidates of a plan's steps, so that the builder queries no tactic twice.

use std::collections::HashMap;

use sinter_backend::{Candidate, Recipe, Region, RegionKey};

/// Candidates by region and recipe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates(HashMap<(RegionKey, String), Candidate>);

impl Candidates {
    /// Keeps the candidate that was chosen for a region.
    pub(crate) fn insert(&mut self, region: &Region, candidate: Candidate) {
        self.0.insert((region.key(), candidate.recipe.to_string()), candidate);
    }

    /// The candidate of a step.
    pub(crate) fn get(&self, region: &Region, recipe: &Recipe) -> Option<&Candidate> {
        self.0.get(&(region.key(), recipe.to_string()))
    }
}
