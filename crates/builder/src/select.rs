//! Choosing a kernel for a region: every tactic is asked, the best time or else estimate wins, the order of the tables
//! breaks ties. Estimates are those at the usual sizes.

use sinter_backend::{BackEnd, Candidate, Device, Loaded, Refusal, Region};

use crate::evidence::Evidence;

/// What was chosen for a region.
pub struct Choice {
    /// The candidate; its estimate is the measured time where there is one.
    pub candidate: Candidate,
    /// Does its kernel work on whole values instead of memory?
    pub takes_values: bool,
}

/// Asks every tactic but those that are banned for the region.
///
/// # Errors
/// All refusals, by tactic, when none takes the region.
pub fn select(
    region: &Region,
    back_end: &dyn BackEnd,
    device: &Device,
    evidence: &Evidence,
) -> Result<Choice, Vec<(String, Refusal)>> {
    let (mut offered, mut refusals) = (Vec::new(), Vec::new());
    let usual = evidence.at_usual_sizes(region);
    for tactic in back_end.tactics() {
        if evidence.is_banned(tactic.name(), region) {
            refusals.push((tactic.name().to_owned(), Refusal::new("does not agree with the judge on this region")));
            continue;
        }
        match tactic.offer(region, device) {
            Ok(mut candidates) => {
                let there = usual.as_ref().and_then(|usual| tactic.offer(usual, device).ok()).unwrap_or_default();
                for candidate in &mut candidates {
                    let same = there.iter().find(|other| other.recipe == candidate.recipe);
                    candidate.estimate = same.map_or(candidate.estimate, |same| same.estimate);
                }
                offered.extend(candidates);
            }
            Err(refusal) => refusals.push((tactic.name().to_owned(), refusal)),
        }
    }
    let point = evidence.note(region, &offered, &refusals);
    let time = |candidate: &Candidate| evidence.time(point.as_ref()?, &candidate.recipe);
    // Beside candidates with a time the others are out: they were too slow by far, or failed.
    let any_timed = offered.iter().any(|candidate| time(candidate).is_some());
    let mut best: Option<Choice> = None;
    for mut candidate in offered {
        candidate.estimate = match time(&candidate) {
            Some(time) => time,
            None if any_timed => continue,
            None => evidence.estimate(&candidate),
        };
        if best.as_ref().is_some_and(|b| b.candidate.estimate <= candidate.estimate) {
            continue;
        }
        let Some(tactic) = back_end.tactic(&candidate.recipe.tactic) else { continue };
        match tactic.load(&candidate.recipe, region, device) {
            Ok(loaded) => best = Some(Choice { candidate, takes_values: matches!(loaded, Loaded::Values(_)) }),
            Err(error) => refusals.push((tactic.name().to_owned(), Refusal::new(error.to_string()))),
        }
    }
    best.ok_or(refusals)
}
