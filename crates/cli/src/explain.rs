//! Why a step has its kernel: what every tactic says to its region.

use std::io::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::backend::{BackEnd, Device, Region};
use sinter::base::Attr;
use sinter::plan::{Action, Graph, Home, Plan, PlanValueId, Step};

use crate::failure::Failure;
use crate::report::sources;

/// How a refusal starts when the tactic serves other operators altogether; it explains nothing.
const OTHER_OPERATOR: &str = "takes ";

/// One step, explained.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// Nodes of the model that it comes from.
    pub origins: Vec<String>,
    /// What is computed, in the text form of bodies.
    pub region: String,
    /// Kernels offered, best estimate first.
    pub candidates: Vec<CandidateReport>,
    /// Tactics for such operators that refused.
    pub refusals: Vec<RefusalReport>,
}

/// One kernel offered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CandidateReport {
    /// Name of the tactic.
    pub tactic: String,
    /// Its parameters; absent when it has none.
    pub parameters: Option<String>,
    /// Expected microseconds, from a model of the device.
    pub estimate_us: f64,
    /// Scratch memory in bytes, as an expression of sizes.
    pub workspace: String,
    /// Is it the one in the plan?
    pub chosen: bool,
}

/// One tactic that refused.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusalReport {
    /// Name of the tactic.
    pub tactic: String,
    /// Why, with the numbers.
    pub reason: String,
}

/// Explains the steps that come from a node.
///
/// # Errors
/// When there is no such step.
pub fn explain(plan: &Plan, node: &str, back_end: &dyn BackEnd) -> Result<Vec<Explanation>, Failure> {
    let mut explanations = Vec::new();
    visit(&plan.graph, &mut |graph, step| {
        if let Action::Kernel { region, .. } = &step.action
            && comes_from(step, node)
        {
            let region = region.clone().with_constants(constants(graph, step));
            explanations.push(explain_step(step, &region, back_end, &plan.device));
        }
    });
    if explanations.is_empty() {
        return Err(Failure::usage(format!("no step comes from a node '{node}'"))
            .help("`sinter inspect FILE` lists the steps with their sources"));
    }
    Ok(explanations)
}

/// Operands that are weights: a plan keeps this with its values, not with its regions.
fn constants(graph: &Graph, step: &Step) -> Vec<usize> {
    let home = |id: PlanValueId| graph.values.get(id.index()).map(|value| &value.home);
    let is_weight = |operand: &usize| {
        step.inputs.get(*operand).copied().flatten().is_some_and(|id| matches!(home(id), Some(Home::Weight(_))))
    };
    (0..step.inputs.len()).filter(is_weight).collect()
}

fn visit(graph: &Graph, see: &mut dyn FnMut(&Graph, &Step)) {
    for step in &graph.steps {
        see(graph, step);
        if let Action::Control { graphs, .. } = &step.action {
            graphs.iter().for_each(|graph| visit(graph, see));
        }
    }
}

/// Sources read `Conv node 'NAME'`; they may also be given whole.
fn comes_from(step: &Step, node: &str) -> bool {
    step.origins.iter().any(|origin| origin == node || origin.contains(&format!("'{node}'")))
}

fn explain_step(step: &Step, region: &Region, back_end: &dyn BackEnd, device: &Device) -> Explanation {
    let chosen = match &step.action {
        Action::Kernel { recipe, .. } => Some(recipe),
        Action::Control { .. } => None,
    };
    let (mut candidates, mut refusals) = (Vec::new(), Vec::new());
    for tactic in back_end.tactics() {
        match tactic.offer(region, device) {
            Ok(offered) => candidates.extend(offered.into_iter().map(|candidate| CandidateReport {
                tactic: candidate.recipe.tactic.clone(),
                parameters: Some(&candidate.recipe.parameters).filter(|p| **p != Attr::Absent).map(Attr::to_string),
                estimate_us: candidate.estimate / 1000.0,
                workspace: candidate.workspace.to_string(),
                chosen: chosen == Some(&candidate.recipe),
            })),
            Err(refusal) if refusal.reason.starts_with(OTHER_OPERATOR) => {}
            Err(refusal) => {
                refusals.push(RefusalReport { tactic: tactic.name().to_owned(), reason: refusal.reason });
            }
        }
    }
    candidates.sort_by(|a, b| a.estimate_us.total_cmp(&b.estimate_us));
    Explanation { origins: sources(step), region: region.to_string(), candidates, refusals }
}

impl Explanation {
    /// Writes it for people.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn show(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\n{}", self.origins.join(", "))?;
        for line in self.region.lines() {
            writeln!(out, "  | {line}")?;
        }
        for candidate in &self.candidates {
            let mark = if candidate.chosen { "chosen " } else { "offered" };
            let parameters = candidate.parameters.as_deref().unwrap_or_default();
            writeln!(
                out,
                "  {mark} {}{parameters}: about {:.2} us, workspace {} bytes",
                candidate.tactic, candidate.estimate_us, candidate.workspace
            )?;
        }
        for refusal in &self.refusals {
            writeln!(out, "  refused {}: {}", refusal.tactic, refusal.reason)?;
        }
        Ok(())
    }
}
