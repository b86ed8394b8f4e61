//! Explains the choice of kernels: for every considered region, the candidates that were offered, timed, refused and
//! chosen.

use std::collections::HashMap;

use sinter_base::Attr;
use sinter_plan::Graph;

use crate::choose::tune::{nanoseconds, why_not};
use crate::choose::tuning_database::TuningDatabase;

/// A region that the build considered.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsideredRegion {
    /// The computation, in the text form of bodies.
    pub region: String,
    /// Number of places in the network where it was considered.
    pub places: usize,
    /// Number of steps of the plan that compute it.
    pub steps: usize,
    /// Offered kernels, in the order of the tables of tactics.
    pub candidates: Vec<ConsideredCandidate>,
    /// (tactic, reason) of every tactic for such operators that refused.
    pub refusals: Vec<(String, String)>,
}

/// A kernel that was offered for a region.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsideredCandidate {
    /// Name of the tactic.
    pub tactic: String,
    /// Its parameters; `None` when it has none.
    pub parameters: Option<String>,
    /// Expected nanoseconds, from a model of the device.
    pub estimate: f64,
    /// Measured nanoseconds, or why there are none.
    pub time: Result<f64, String>,
    /// Scratch memory in bytes, as an expression of sizes.
    pub workspace: String,
    /// Does the plan use it?
    pub chosen: bool,
}

/// All regions of the last cover, with the choices of the plan.
pub(crate) fn considered(database: &TuningDatabase, graph: &Graph) -> Vec<ConsideredRegion> {
    let mut steps: HashMap<String, Vec<(String, String)>> = HashMap::new();
    graph.visit_steps(&mut |step| {
        let Some(launch) = step.launch() else { return };
        let chosen = launch.variants().map(|variant| &variant.recipe);
        let chosen = chosen.map(|recipe| (recipe.tactic.clone(), recipe.parameters.to_string()));
        steps.entry(launch.region.to_string()).or_default().extend(chosen);
    });
    let mut regions = Vec::new();
    for (_, query) in database.queries() {
        let region = query.region.to_string();
        let chosen = steps.get(&region).map(Vec::as_slice).unwrap_or_default();
        let candidate = |candidate: &sinter_backend::Candidate| {
            let known = query.point.as_ref().ok().and_then(|point| database.timing(point, &candidate.recipe));
            let recipe = &candidate.recipe;
            ConsideredCandidate {
                tactic: recipe.tactic.clone(),
                parameters: Some(&recipe.parameters).filter(|p| **p != Attr::Absent).map(Attr::to_string),
                estimate: candidate.estimate,
                time: known.map_or_else(|| Err(why_not(&query, candidate)), nanoseconds),
                workspace: candidate.workspace.to_string(),
                chosen: chosen.contains(&(recipe.tactic.clone(), recipe.parameters.to_string())),
            }
        };
        let near = query.refusals.iter().filter_map(|(tactic, refusal)| Some((tactic, refusal.reason()?)));
        regions.push(ConsideredRegion {
            places: query.count,
            steps: chosen.len(),
            candidates: query.offered.iter().map(candidate).collect(),
            refusals: near.map(|(tactic, reason)| (tactic.clone(), reason.to_owned())).collect(),
            region,
        });
    }
    regions
}
