//! Choosing a kernel for a region: every tactic is asked, the best estimate wins, the order of the tables breaks ties.

use std::collections::HashSet;

use sinter_backend::{BackEnd, Candidate, Device, Loaded, Refusal, Region};

/// What was chosen for a region.
pub struct Choice {
    /// The candidate.
    pub candidate: Candidate,
    /// Does its kernel work on whole values instead of memory?
    pub takes_values: bool,
}

/// Tactics that are not to be used: (tactic, text of the region).
pub type Banned = HashSet<(String, String)>;

/// Asks every tactic but those that are banned for the region.
///
/// # Errors
/// All refusals, by tactic, when none takes the region.
pub fn select(
    region: &Region,
    back_end: &dyn BackEnd,
    device: &Device,
    banned: &Banned,
) -> Result<Choice, Vec<(String, Refusal)>> {
    let is_banned = |tactic: &str| !banned.is_empty() && banned.contains(&(tactic.to_owned(), region.to_string()));
    let mut best: Option<Choice> = None;
    let mut refusals = Vec::new();
    for tactic in back_end.tactics() {
        if is_banned(tactic.name()) {
            refusals.push((tactic.name().to_owned(), Refusal::new("does not agree with the judge on this region")));
            continue;
        }
        let offered = match tactic.offer(region, device) {
            Ok(candidates) => candidates,
            Err(refusal) => {
                refusals.push((tactic.name().to_owned(), refusal));
                continue;
            }
        };
        for candidate in offered {
            if best.as_ref().is_some_and(|b| b.candidate.estimate <= candidate.estimate) {
                continue;
            }
            match tactic.load(&candidate.recipe, region, device) {
                Ok(loaded) => {
                    best = Some(Choice { candidate, takes_values: matches!(loaded, Loaded::Values(_)) });
                }
                Err(error) => refusals.push((tactic.name().to_owned(), Refusal::new(error.to_string()))),
            }
        }
    }
    best.ok_or(refusals)
}
