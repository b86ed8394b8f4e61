//! The report that travels with a plan: the facts of a build that depend on the plan alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sinter_passes::PassReport;
use sinter_plan::report::{FiredPass, Refused, Verification};
use sinter_plan::{Graph, Launch, Report};

use crate::regions::ConsideredRegion;

/// The report of a plan with these steps.
pub(crate) fn report(
    verification: &Verification,
    passes: &[PassReport],
    regions: &[ConsideredRegion],
    graph: &Graph,
) -> Report {
    let fired = passes.iter().filter(|pass| pass.fired > 0);
    Report {
        verification: verification.clone(),
        passes: fired.map(|pass| FiredPass { name: pass.pass.to_owned(), fired: pass.fired }).collect(),
        refused: refused(regions, graph),
        precision: None,
    }
}

/// Refusals for the regions that steps compute, in the order of the first such step.
fn refused(regions: &[ConsideredRegion], graph: &Graph) -> Vec<Refused> {
    let mut steps: Vec<(String, Vec<usize>)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut position = 0;
    graph.visit_steps(&mut |step| {
        if let Some(Launch { region, .. }) = step.launch() {
            let text = region.to_string();
            let at = *known.entry(text.clone()).or_insert_with(|| {
                steps.push((text, Vec::new()));
                steps.len() - 1
            });
            steps[at].1.push(position);
        }
        position += 1;
    });
    let mut shared: HashSet<Arc<str>> = HashSet::new();
    let mut text = |text: &str| match shared.get(text) {
        Some(known) => known.clone(),
        None => {
            let new: Arc<str> = text.into();
            shared.insert(new.clone());
            new
        }
    };
    let mut all = Vec::new();
    for (region, steps) in steps {
        let mut refusals: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        // The build may have considered one region with several contents of its weights.
        for (tactic, reason) in regions.iter().filter(|r| r.region == region).flat_map(|r| &r.refusals) {
            let refusal = (text(tactic), text(reason));
            if !refusals.contains(&refusal) {
                refusals.push(refusal);
            }
        }
        if !refusals.is_empty() {
            all.push(Refused { steps, refusals });
        }
    }
    all
}
