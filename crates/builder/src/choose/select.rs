//! Selects a kernel for a region: queries the tactics for its root and takes the best time, or else estimate; the order
//! of the tables breaks ties. Selection loads nothing.

use sinter_backend::{BackEnd, Candidate, Problem, Refusal, Region, Target};

use crate::choose::tuning_database::TuningDatabase;

/// Limit on the candidates that one tactic may offer for a region.
pub(crate) const MOST_CANDIDATES: usize = 16;

/// The best candidate of all tactics for the region, except banned ones; its estimate is the measured time where there
/// is one. With several profiles of sizes, the candidate is the best one for the first of them, and its estimate the
/// sum of the best estimates for all.
///
/// # Errors
/// All refusals, by tactic, when none takes the region.
pub(crate) fn select(
    region: &Region,
    back_end: &dyn BackEnd,
    target: &Target,
    database: &TuningDatabase,
) -> Result<Candidate, Vec<(String, Refusal)>> {
    let mut best = select_at(region, 0, back_end, target, database)?;
    for profile in 1..database.profiles().len() {
        let other = select_at(region, profile, back_end, target, database);
        best.estimate += other.map_or(best.estimate, |other| other.estimate);
    }
    Ok(best)
}

/// As [`select`], for the sizes of one profile.
///
/// # Errors
/// As [`select`].
pub(crate) fn select_at(
    region: &Region,
    profile: usize,
    back_end: &dyn BackEnd,
    target: &Target,
    database: &TuningDatabase,
) -> Result<Candidate, Vec<(String, Refusal)>> {
    let (offered, refusals) = offered(region, profile, back_end, target, database);
    let point = database.note(region, profile, &offered, &refusals);
    let time = |candidate: &Candidate| database.time(point.as_ref()?, &candidate.recipe);
    // Once any candidate has a time, those without are excluded: they were far too slow, or failed.
    let any_timed = offered.iter().any(|candidate| time(candidate).is_some());
    let mut best: Option<Candidate> = None;
    for mut candidate in offered {
        candidate.estimate = match time(&candidate) {
            Some(time) => time,
            None if any_timed => continue,
            None => database.estimate(&candidate),
        };
        if best.as_ref().is_none_or(|best| candidate.estimate < best.estimate) {
            best = Some(candidate);
        }
    }
    best.ok_or(refusals)
}

/// As [`select`], by estimates alone: for kernels of an island, which are not timed.
///
/// # Errors
/// As [`select`].
pub(crate) fn best(
    region: &Region,
    back_end: &dyn BackEnd,
    target: &Target,
    database: &TuningDatabase,
) -> Result<Candidate, Vec<(String, Refusal)>> {
    let (offered, refusals) = offered(region, 0, back_end, target, database);
    offered.into_iter().min_by(|a, b| a.estimate.total_cmp(&b.estimate)).ok_or(refusals)
}

/// All candidates for a region except banned ones, and all refusals, by tactic.
fn offered(
    region: &Region,
    profile: usize,
    back_end: &dyn BackEnd,
    target: &Target,
    database: &TuningDatabase,
) -> (Vec<Candidate>, Vec<(String, Refusal)>) {
    let (mut offered, mut refusals) = (Vec::new(), Vec::new());
    let problem = Problem { region, target, sizing: &database.profiles()[profile].sizing };
    let root = region.root();
    for tactic in
        back_end.tactics().into_iter().filter(|tactic| root.is_some_and(|root| tactic.roots().contains(&root)))
    {
        match tactic.offer(&problem, MOST_CANDIDATES) {
            Ok(candidates) => {
                let (banned, allowed): (Vec<_>, Vec<_>) =
                    candidates.into_iter().partition(|candidate| database.is_banned(&candidate.recipe, region));
                let reason = || Refusal::new("does not agree with the reference on this region");
                refusals.extend(banned.iter().map(|candidate| (candidate.recipe.to_string(), reason())));
                offered.extend(allowed);
            }
            Err(refusal) => refusals.push((tactic.name().to_owned(), refusal)),
        }
    }
    (offered, refusals)
}
