//! Explains why a step has its kernel: the candidates and the refusals of all tactics for its region.

use std::io::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backend::{BackEnd, Problem, Refusal, Region, Sizing, Target};
use sinter::internals::base::{Attr, one_line};
use sinter::internals::builder::{ConsideredCandidate, ConsideredRegion};
use sinter::internals::ir::Network;
use sinter::internals::plan::{Action, Graph, Launch, Plan, PlanValueId, Step, Storage};

use crate::failure::Failure;
use crate::report::sources;

/// One step, explained.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// Nodes of the model that it comes from.
    pub origins: Vec<String>,
    /// What is computed, in the text form of bodies.
    pub region: String,
    /// Kernels offered: those with a time first, then by estimate.
    pub candidates: Vec<CandidateReport>,
    /// Tactics for such operators that refused.
    pub refusals: Vec<RefusalReport>,
}

/// A region that the build considered, in the plan or not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionReport {
    /// What is computed, in the text form of bodies.
    pub region: String,
    /// In how many places of the network it was considered.
    pub places: usize,
    /// How many steps of the plan compute it.
    pub steps: usize,
    /// Kernels offered: those with a time first, then by estimate.
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
    /// Measured microseconds; absent when it was not timed.
    pub time_us: Option<f64>,
    /// Why it was not timed.
    pub not_timed: Option<String>,
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

/// What a build considered, for reports.
pub fn region_reports(regions: &[ConsideredRegion]) -> Vec<RegionReport> {
    let refusal =
        |(tactic, reason): &(String, String)| RefusalReport { tactic: tactic.clone(), reason: reason.clone() };
    let report = |region: &ConsideredRegion| RegionReport {
        region: region.region.clone(),
        places: region.places,
        steps: region.steps,
        candidates: sorted(region.candidates.iter().map(candidate_report).collect()),
        refusals: region.refusals.iter().map(refusal).collect(),
    };
    regions.iter().map(report).collect()
}

fn candidate_report(candidate: &ConsideredCandidate) -> CandidateReport {
    CandidateReport {
        tactic: candidate.tactic.clone(),
        parameters: candidate.parameters.clone(),
        estimate_us: candidate.estimate / 1000.0,
        time_us: candidate.time.as_ref().ok().map(|time| time / 1000.0),
        not_timed: candidate.time.as_ref().err().cloned(),
        workspace: candidate.workspace.clone(),
        chosen: candidate.chosen,
    }
}

fn sorted(mut candidates: Vec<CandidateReport>) -> Vec<CandidateReport> {
    let key = |c: &CandidateReport| (c.time_us.is_none(), c.time_us.unwrap_or(c.estimate_us));
    candidates.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    candidates
}

/// Explains the steps that come from a node; `considered` is what the build of the plan considered, when it was built
/// just now.
///
/// # Errors
/// When there is no such step.
pub fn explain(
    plan: &Plan,
    node: &str,
    back_end: &dyn BackEnd,
    considered: &[ConsideredRegion],
) -> Result<Vec<Explanation>, Failure> {
    let mut explanations = Vec::new();
    let mut position = 0;
    visit(&plan.graph, &mut |graph, step| {
        position += 1;
        if let Some(Launch { region, .. }) = step.launch()
            && comes_from(step, node)
        {
            let text = region.to_string();
            let known: Vec<ConsideredRegion> = considered.iter().filter(|c| c.region == text).cloned().collect();
            explanations.push(match region_reports(&known).pop() {
                Some(RegionReport { region, candidates, refusals, .. }) => {
                    Explanation { origins: sources(step), region, candidates, refusals }
                }
                None => {
                    let region = region.clone().with_constants(constants(graph, step));
                    let mut explanation = explain_step(step, &region, back_end, &plan.target);
                    // The recorded refusals of the build count, because this machine or program may be another one.
                    if plan.report.is_some() {
                        explanation.refusals = refusals(plan, position - 1);
                    }
                    explanation
                }
            });
        }
    });
    if explanations.is_empty() { Err(no_step(node)) } else { Ok(explanations) }
}

fn no_step(node: &str) -> Failure {
    Failure::usage(format!("no step comes from a node '{node}'"))
        .help("`sinter inspect FILE` lists the steps with their sources")
}

/// Fails at once when no step of a network's plan can come from a node: building the plan may take long.
///
/// # Errors
/// As [`explain`].
pub fn check_node(network: &Network, node: &str) -> Result<(), Failure> {
    let has_bodies = network.body.nodes().iter().any(|node| !node.op.bodies().is_empty());
    let is_known = network.locations.iter().any(|location| is_of(&location.to_string(), node));
    // The list of locations does not name the nodes of control-flow bodies.
    if has_bodies || is_known { Ok(()) } else { Err(no_step(node)) }
}

/// Tactics that refused a step when its plan was built, by the position of the step in the order of visits.
pub fn refusals(plan: &Plan, step: usize) -> Vec<RefusalReport> {
    let refusal =
        |(tactic, reason): (&str, &str)| RefusalReport { tactic: tactic.to_owned(), reason: reason.to_owned() };
    plan.report.iter().flat_map(|report| report.refusals_of(step)).map(refusal).collect()
}

/// Operands that are weights: a plan keeps this with its values, not with its regions.
fn constants(graph: &Graph, step: &Step) -> Vec<usize> {
    let storage = |id: PlanValueId| graph.values.get(id.index()).map(|value| &value.storage);
    let is_weight = |operand: &usize| {
        step.inputs.get(*operand).copied().flatten().is_some_and(|id| matches!(storage(id), Some(Storage::Weight(_))))
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
    step.origins.iter().any(|origin| is_of(origin, node))
}

fn is_of(origin: &str, node: &str) -> bool {
    // A source takes one line.
    let node = one_line(node);
    origin == node || origin.contains(&format!("'{node}'"))
}

fn explain_step(step: &Step, region: &Region, back_end: &dyn BackEnd, target: &Target) -> Explanation {
    let chosen = step.launch().map(|launch| &launch.general.recipe);
    let (mut candidates, mut refusals) = (Vec::new(), Vec::new());
    let sizing = Sizing::default();
    let problem = Problem { region, target, sizing: &sizing };
    for tactic in back_end.tactics() {
        match tactic.offer(&problem, usize::MAX) {
            Ok(offered) => candidates.extend(offered.into_iter().map(|candidate| CandidateReport {
                tactic: candidate.recipe.tactic.clone(),
                parameters: Some(&candidate.recipe.parameters).filter(|p| **p != Attr::Absent).map(Attr::to_string),
                estimate_us: candidate.estimate / 1000.0,
                time_us: None,
                not_timed: Some("a plan keeps no times; give the model with --tune-seconds".to_owned()),
                workspace: candidate.workspace.to_string(),
                chosen: chosen == Some(&candidate.recipe),
            })),
            Err(Refusal::OtherOperator) => {}
            Err(Refusal::Because(reason)) => refusals.push(RefusalReport { tactic: tactic.name().to_owned(), reason }),
        }
    }
    Explanation { origins: sources(step), region: region.to_string(), candidates: sorted(candidates), refusals }
}

impl Explanation {
    /// Writes it for people, with the lines of its region.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn show(&self, region: &str, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\n{}", self.origins.join(", "))?;
        for line in region.lines() {
            writeln!(out, "  | {line}")?;
        }
        for candidate in &self.candidates {
            let mark = if candidate.chosen { "chosen " } else { "offered" };
            let parameters = candidate.parameters.as_deref().unwrap_or_default();
            let time = match (candidate.time_us, &candidate.not_timed) {
                (Some(time), _) => format!("{time:.2} us measured, {:.2} us expected", candidate.estimate_us),
                (None, Some(reason)) => format!("about {:.2} us, not timed: {reason}", candidate.estimate_us),
                (None, None) => format!("about {:.2} us", candidate.estimate_us),
            };
            writeln!(
                out,
                "  {mark} {}{parameters}: {time}; workspace {} bytes",
                candidate.tactic, candidate.workspace
            )?;
        }
        for refusal in &self.refusals {
            writeln!(out, "  refused {}: {}", refusal.tactic, refusal.reason)?;
        }
        Ok(())
    }
}
