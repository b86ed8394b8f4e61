//! The report of a build: the verification result, the passes that fired, and the tactics that refused steps.
//!
//! It depends only on the model, the options of the build and the plan, so that plans stay reproducible: it holds no
//! estimate, no time and no region that was not chosen.

use std::sync::Arc;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The verification result.
    pub verification: Verification,
    /// Passes that fired, in the order of their first run.
    pub passes: Vec<FiredPass>,
    /// Refusals, by region.
    pub refused: Vec<Refused>,
    /// What the network is stored in; absent where it is stored as the model says.
    pub precision: Option<PrecisionReport>,
}

/// The storage of a network's values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrecisionReport {
    /// The precision that was asked for: `fp16`, say.
    pub requested: String,
    /// Number of nodes that give their results in a narrow type.
    pub narrow: usize,
    /// Number of casts between nodes.
    pub casts: usize,
    /// Nodes that stay in f32.
    pub kept: Vec<KeptNode>,
    /// The errors of outputs; those without floats have none.
    pub outputs: Vec<OutputError>,
}

/// A node that stays in f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptNode {
    /// Where in the model.
    pub origin: String,
    /// Its operator.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Do values exceed the range of the type?
    pub is_range: bool,
}

/// The error of an output in a narrow type, on the inputs of verification.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputError {
    /// The output.
    pub output: String,
    /// The largest difference from f32, relative to the largest element.
    pub error: f64,
    /// The bound of the precision. Rounding alone, or another decision of a selection, explains a larger error.
    pub limit: f64,
}

/// The verification result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Why the build verified nothing.
    pub skipped: Option<String>,
    /// How the network after the passes differs from the imported one, where rounding alone may explain it.
    pub unverified_passes: Option<String>,
    /// Number of steps that agree with the reference executor.
    pub agreed: usize,
    /// Kernels and passes that disagreed and were left out.
    pub dropped: Vec<Dropped>,
    /// Steps that could not be verified.
    pub unverified: Vec<Unverified>,
}

/// A kernel or pass that disagreed.
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
    /// (tactic, reason). The same few texts occur many times, so they are shared.
    pub refusals: Vec<(Arc<str>, Arc<str>)>,
}

impl Report {
    /// Tactics that refused a step, with their reasons; `step` is a position in the order of
    /// [`crate::Graph::visit_steps`].
    pub fn refusals_of(&self, step: usize) -> impl Iterator<Item = (&str, &str)> {
        let of_step = self.refused.iter().filter(move |refused| refused.steps.contains(&step));
        of_step.flat_map(|refused| &refused.refusals).map(|(tactic, reason)| (&**tactic, &**reason))
    }
}
