//! Tuning: times the candidates of the regions that a cover queries, the heaviest regions first.
//!
//! Equal regions share one timing. Tuning skips candidates whose estimate is many times that of the best one. When the
//! time is over, regions without a time keep their estimates, scaled to be comparable with times. In the end the plan
//! by times must win as a whole engine ([`engines`]).

mod candidate_timing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sinter_backend::{BackEnd, Candidate, Device, Recipe, Target};

use crate::choose::point::Point;
use crate::choose::timings::{Timing, TimingCache};
use crate::choose::tune::candidate_timing::Bench;
use crate::choose::tuning_database::{Query, Times, TuningDatabase};
use crate::progress::{Progress, Stage};

/// Candidates whose estimate is this many times that of the best one are not timed, unless they are short anyway.
const FAR_SLOWER: f64 = 10.0;
/// Nanoseconds below which every candidate is timed.
const SHORT: f64 = 100_000.0;

/// Options of tuning.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Time for tuning; `None` uses the timings of the cache only, and fails when one is missing.
    pub budget: Option<Duration>,
    /// Timings of earlier builds.
    pub cache: TimingCache,
}

/// A timing that a locked build lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTiming {
    /// The tactic.
    pub tactic: String,
    /// The problem that it would compute.
    pub problem: String,
}

/// The name of the device in timings.
pub(crate) fn device_name(back_end: &dyn BackEnd, target: &Target) -> String {
    let machine = back_end.machine();
    let separator = if machine.is_empty() { "" } else { ", " };
    format!("{target}{separator}{machine}, sinter {}", env!("CARGO_PKG_VERSION"))
}

/// A region to be timed.
struct Job {
    weight: f64,
    point: Point,
    recipes: Vec<Recipe>,
}

/// Candidates that tuning times.
fn worth_timing(query: &Query) -> impl Iterator<Item = &Candidate> {
    let best = query.offered.iter().map(|c| c.estimate).fold(f64::INFINITY, f64::min);
    query.offered.iter().filter(move |c| !is_far_slower(c.estimate, best))
}

fn is_far_slower(estimate: f64, best: f64) -> bool {
    estimate > SHORT && estimate > best * FAR_SLOWER
}

/// Why a candidate was not timed although a cover queried its region.
pub(crate) fn why_not(query: &Query, candidate: &Candidate) -> String {
    let best = query.offered.iter().map(|c| c.estimate).fold(f64::INFINITY, f64::min);
    match &query.point {
        Err(reason) => reason.clone(),
        Ok(_) if is_far_slower(candidate.estimate, best) => {
            format!("expected to be {:.0} times slower than the best", candidate.estimate / best.max(1.0))
        }
        Ok(_) => "the time for tuning was over".to_owned(),
    }
}

/// Regions with candidates that lack a time, the heaviest first.
fn jobs(database: &TuningDatabase) -> Vec<Job> {
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    for (_, query) in database.queries() {
        let Ok(point) = &query.point else { continue };
        let recipes: Vec<Recipe> = worth_timing(&query).map(|candidate| candidate.recipe.clone()).collect();
        if recipes.iter().all(|recipe| database.timing(point, recipe).is_some()) {
            continue;
        }
        let best = worth_timing(&query).map(|c| c.estimate).fold(f64::INFINITY, f64::min);
        let new = Job { weight: 0.0, point: point.clone(), recipes: Vec::new() };
        let job = jobs.entry(point.problem.clone()).or_insert(new);
        job.weight += best * query.count as f64;
        job.recipes.extend(recipes.into_iter().filter(|recipe| !job.recipes.contains(recipe)).collect::<Vec<_>>());
    }
    let mut jobs: Vec<Job> = jobs.into_values().collect();
    jobs.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    jobs
}

/// Timings that the present cover needs and the cache lacks.
pub(crate) fn missing(database: &TuningDatabase) -> Vec<MissingTiming> {
    let of = |job: Job| {
        let Job { point, recipes, .. } = job;
        let lacking = recipes.into_iter().filter(|recipe| database.timing(&point, recipe).is_none());
        lacking.map(|r| MissingTiming { tactic: r.tactic, problem: point.problem.clone() }).collect::<Vec<_>>()
    };
    jobs(database).into_iter().flat_map(of).collect()
}

/// Times the queries of the present cover, until `left` is used up.
pub(crate) fn tune(
    database: &mut TuningDatabase,
    (back_end, device): (&dyn BackEnd, &dyn Device),
    (left, whole): (&mut Duration, Duration),
    progress: Progress<'_>,
) {
    let jobs = jobs(database);
    let start = Instant::now();
    let deadline = start + *left;
    let used = whole.saturating_sub(*left);
    let bench = Bench { back_end, device, deadline };
    let Some(times) = &mut database.times else { return };
    for job in jobs {
        if Instant::now() >= deadline {
            break;
        }
        progress.at(Stage::Tune, used + start.elapsed(), whole);
        let timings = bench.time(&job.point.region, &job.recipes);
        for (recipe, timing) in job.recipes.iter().zip(timings) {
            if let Some(timing) = timing {
                times.cache.insert(&times.device, &job.point.problem, recipe, timing);
            }
        }
    }
    *left = left.saturating_sub(start.elapsed());
}

/// The factor that makes estimates comparable with times: the median of time by estimate.
pub(crate) fn scale(database: &TuningDatabase) -> f64 {
    let mut ratios = Vec::new();
    for (_, query) in database.queries() {
        let Ok(point) = &query.point else { continue };
        let ratio = |c: &Candidate| Some(database.time(point, &c.recipe)? / c.estimate);
        ratios.extend(query.offered.iter().filter(|c| c.estimate > 0.0).filter_map(ratio));
    }
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(1.0)
}

/// The known times at the beginning of a tuned build.
pub(crate) fn begin(tuning: &Tuning, back_end: &dyn BackEnd, target: &Target) -> Times {
    Times { device: device_name(back_end, target), cache: tuning.cache.clone(), scale: 1.0 }
}

/// A timing for reports.
pub(crate) fn nanoseconds(timing: &Timing) -> Result<f64, String> {
    match timing {
        Timing::Picoseconds(time) => Ok(*time as f64 / 1000.0),
        Timing::Failed(reason) => Err(reason.clone()),
    }
}
