//! Why a build has its kernels: of every region that it considered, what was offered, timed, refused and chosen.

use std::collections::HashMap;

use sinter_base::Attr;
use sinter_plan::Graph;

use crate::choose::tune::{nanoseconds, why_not};
use crate::choose::tuning_database::TuningDatabase;

/// A region that the build considered.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsideredRegion {
    /// What is computed, in the text form of bodies.
    pub region: String,
    /// In how many places of the network it was considered.
    pub places: usize,
    /// How many steps of the plan compute it.
    pub steps: usize,
    /// Kernels offered, in the order of the tables of tactics.
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
    /// Is it in the plan?
    pub chosen: bool,
}

/// All regions of the last cover, with what the plan took.
pub(crate) fn considered(database: &TuningDatabase, graph: &Graph) -> Vec<ConsideredRegion> {
    let mut steps: HashMap<String, Vec<(String, String)>> = HashMap::new();
    graph.visit_steps(&mut |step| {
        let Some(launch) = step.launch() else { return };
        let chosen = launch.variants().map(|variant| &variant.recipe);
        let chosen = chosen.map(|recipe| (recipe.tactic.clone(), recipe.parameters.to_string()));
        steps.entry(launch.region.to_string()).or_default().extend(chosen);
    });
    let mut regions = Vec::new();
    for (_, asked) in database.asked() {
        let region = asked.region.to_string();
        let chosen = steps.get(&region).map(Vec::as_slice).unwrap_or_default();
        let candidate = |candidate: &sinter_backend::Candidate| {
            let known = asked.point.as_ref().ok().and_then(|point| database.timing(point, &candidate.recipe));
            let recipe = &candidate.recipe;
            ConsideredCandidate {
                tactic: recipe.tactic.clone(),
                parameters: Some(&recipe.parameters).filter(|p| **p != Attr::Absent).map(Attr::to_string),
                estimate: candidate.estimate,
                time: known.map_or_else(|| Err(why_not(&asked, candidate)), nanoseconds),
                workspace: candidate.workspace.to_string(),
                chosen: chosen.contains(&(recipe.tactic.clone(), recipe.parameters.to_string())),
            }
        };
        let near = asked.refusals.iter().filter_map(|(tactic, refusal)| Some((tactic, refusal.reason()?)));
        regions.push(ConsideredRegion {
            places: asked.count,
            steps: chosen.len(),
            candidates: asked.offered.iter().map(candidate).collect(),
            refusals: near.map(|(tactic, reason)| (tactic.clone(), reason.to_owned())).collect(),
            region,
        });
    }
    regions
}
