//! The report: how a plan came about. What the judge said of it, which passes fired, and which tactics refused its steps.
//!
//! It depends on nothing but the model, the options of the build and the plan itself, so that plans stay reproducible: no
//! estimate, no time, no region that was considered and not taken.

use std::sync::Arc;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the judge said.
    pub verification: Verification,
    /// Passes that fired, in the order of their first run.
    pub passes: Vec<FiredPass>,
    /// Refusals, by region.
    pub refused: Vec<Refused>,
}

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Why nothing was verified.
    pub skipped: Option<String>,
    /// How the network after the passes differs from the one before, where rounding alone may select something else.
    pub unverified_passes: Option<String>,
    /// Steps that agree with the judge.
    pub agreed: usize,
    /// Kernels and passes that disagreed and were left out.
    pub dropped: Vec<Dropped>,
    /// Steps that could not be verified.
    pub unverified: Vec<Unverified>,
}

/// A kernel or pass that did not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The tactic or pass.
    pub name: String,
    /// Where in the model.
    pub origin: String,
    /// The first difference.
    pub reason: String,
}

/// A step that could not be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// Where in the model.
    pub origin: String,
    /// Why it could not.
    pub reason: String,
}

/// A pass that changed the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiredPass {
    /// Its name.
    pub name: String,
    /// How often.
    pub fired: usize,
}

/// Tactics that refused a region, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Positions of the steps that compute the region, in the order of [`crate::Graph::visit_steps`].
    pub steps: Vec<usize>,
    /// (tactic, reason). The same few texts stand here many times, and a file may say so in few bytes: they are shared.
    pub refusals: Vec<(Arc<str>, Arc<str>)>,
}

impl Report {
    /// Tactics that refused a step, and why; the step by its position in the order of [`crate::Graph::visit_steps`].
    pub fn refusals_of(&self, step: usize) -> impl Iterator<Item = (&str, &str)> {
        let of_step = self.refused.iter().filter(move |refused| refused.steps.contains(&step));
        of_step.flat_map(|refused| &refused.refusals).map(|(tactic, reason)| (&**tactic, &**reason))
    }
}
