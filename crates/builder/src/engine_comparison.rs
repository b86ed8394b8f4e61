//! The plan by times and the plan by estimates as whole engines: tuning never makes an engine slower.
//!
//! A kernel that wins alone may lose among others, whose values leave the caches in another state. So both plans run in
//! turns on the same inputs, and the one by times is taken only where it wins by more than the figures are worth. As for
//! single kernels the shortest run is the figure; it is kept with the timings, so that a locked build decides alike.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sinter_backend::{BackEnd, Recipe};
use sinter_base::{Attr, Value};
use sinter_interp::inputs::generate_at;
use sinter_ir::Network;
use sinter_plan::Plan;
use sinter_runtime::{Bindings, Context, Engine, EngineOptions};

use crate::choose::point::{Optimum, TYPICAL_SIZES};
use crate::choose::timings::Timing;
use crate::choose::tune::{MissingTiming, nanoseconds};
use crate::choose::tuning_database::TuningDatabase;
use crate::known_verifications::plan_hash;
use crate::verify::Verify;

/// The share of the time for tuning that is kept for engines.
pub(crate) const SHARE: f64 = 0.2;
/// Figures have settled after this much time.
const ENOUGH: Duration = Duration::from_secs(2);
/// One engine runs so long before it is the other's turn.
const TURN: Duration = Duration::from_millis(10);
/// What a win must save, as a part of the time.
const SIGNIFICANT: f64 = 0.02;
/// Names under which the times of the plan by times and of the plan by estimates are kept.
const TACTICS: [&str; 2] = ["engine.by_times", "engine.by_estimates"];

/// How the plan by times did beside the plan by estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct Engines {
    /// Nanoseconds of one inference by the plan by times and by the plan by estimates, or why nobody knows.
    pub times: Result<(f64, f64), String>,
}

impl Engines {
    /// Does the plan by times win by more than the figures are worth? Where nothing is known it does not.
    pub fn is_won_by_times(&self) -> bool {
        matches!(self.times, Ok((timed, estimated)) if timed < estimated * (1.0 - SIGNIFICANT))
    }
}

/// Two plans of one network.
pub(crate) struct EngineComparison<'a> {
    plans: [&'a Plan; 2],
    problem: String,
}

/// A plan that is ready to run.
struct Runner {
    context: Context,
    bindings: Bindings,
    best: Duration,
}

impl<'a> EngineComparison<'a> {
    /// The plan by times beside the plan by estimates, with kernels chosen for these sizes; `None` where they are the same.
    pub(crate) fn between(timed: &'a Plan, estimated: &'a Plan, sizes: &Optimum) -> Option<Self> {
        let hashes = [plan_hash(timed), plan_hash(estimated)];
        let mut problem = format!("plan {} beside plan {}\n", hashes[0], hashes[1]);
        for (name, hint) in &sizes.hints.0 {
            if let Some(size) = hint.opt {
                problem.push_str(&format!("{name} = {size}\n"));
            }
        }
        (hashes[0] != hashes[1]).then_some(Self { plans: [timed, estimated], problem })
    }

    /// What earlier runs showed.
    pub(crate) fn known(&self, database: &TuningDatabase) -> Option<Engines> {
        let times = database.times.as_ref()?;
        let time = |tactic| times.cache.get(&times.device, &self.problem, &recipe(tactic)).map(nanoseconds);
        let [timed, estimated] = TACTICS.map(time);
        let (timed, estimated) = (timed?, estimated?);
        Some(Engines { times: timed.and_then(|timed| Ok((timed, estimated?))) })
    }

    /// What a locked build lacks.
    pub(crate) fn missing(&self) -> Vec<MissingTiming> {
        TACTICS.map(|tactic| MissingTiming { tactic: tactic.to_owned(), problem: self.problem.clone() }).into()
    }

    /// Runs both plans in turns and notes their times; takes what it uses from the time that is left.
    pub(crate) fn run(
        &self,
        network: &Network,
        verify: &Verify,
        database: &mut TuningDatabase,
        back_ends: &[&dyn BackEnd],
        max_memory: u64,
        left: &mut Duration,
    ) {
        let start = Instant::now();
        let inputs = optimum_inputs(network, verify, database.sizes());
        let timings = match self.time(inputs, back_ends, max_memory, start + ENOUGH.min(*left)) {
            // Nothing takes no time: a clock of coarse steps must not make an engine free.
            Ok(times) => {
                times.map(|t| Timing::Picoseconds(u64::try_from(t.as_nanos() * 1000).unwrap_or(u64::MAX).max(1)))
            }
            Err(reason) => [Timing::Failed(reason.clone()), Timing::Failed(reason)],
        };
        if let Some(times) = &mut database.times {
            for (tactic, timing) in TACTICS.into_iter().zip(timings) {
                times.cache.insert(&times.device, &self.problem, &recipe(tactic), timing);
            }
        }
        *left = left.saturating_sub(start.elapsed());
    }

    fn time(
        &self,
        inputs: Vec<Result<HashMap<String, Value>, String>>,
        back_ends: &[&dyn BackEnd],
        max_memory: u64,
        deadline: Instant,
    ) -> Result<[Duration; 2], String> {
        let mut runners = self.start(inputs, back_ends, max_memory)?;
        for turn in 0.. {
            if turn > 0 && Instant::now() >= deadline {
                break;
            }
            for at in [turn % 2, (turn + 1) % 2] {
                let (runner, begin) = (&mut runners[at], Instant::now());
                runner.run()?;
                while begin.elapsed() < TURN {
                    runner.run()?;
                }
            }
        }
        Ok(runners.map(|runner| runner.best))
    }

    /// Both plans with the first inputs that they take.
    fn start(
        &self,
        inputs: Vec<Result<HashMap<String, Value>, String>>,
        back_ends: &[&dyn BackEnd],
        max_memory: u64,
    ) -> Result<[Runner; 2], String> {
        let max_memory = usize::try_from(max_memory).unwrap_or(usize::MAX);
        let engine = |plan: &Plan| {
            let options = EngineOptions { threads: plan.target.units, max_memory };
            Engine::load(plan.clone(), back_ends, &options).map_err(|e| e.to_string())
        };
        let engines = [engine(self.plans[0])?, engine(self.plans[1])?];
        let mut first = None;
        for inputs in inputs {
            match inputs.and_then(|inputs| Ok([Runner::of(&engines[0], &inputs)?, Runner::of(&engines[1], &inputs)?])) {
                Ok(runners) => return Ok(runners),
                Err(reason) => {
                    first.get_or_insert(reason);
                }
            }
        }
        Err(first.unwrap_or_default())
    }
}

impl Runner {
    /// Runs once: what touches memory and code for the first time is not counted.
    fn of(engine: &Engine, inputs: &HashMap<String, Value>) -> Result<Self, String> {
        let context = engine.context();
        let mut bindings = context.bindings();
        for (name, value) in inputs {
            bindings.set(name, value.clone()).map_err(|e| e.to_string())?;
        }
        let mut runner = Self { context, bindings, best: Duration::MAX };
        runner.run()?;
        Ok(Self { best: Duration::MAX, ..runner })
    }

    fn run(&mut self) -> Result<(), String> {
        let start = Instant::now();
        self.context.run_into(&mut self.bindings).map_err(|e| e.to_string())?;
        self.best = self.best.min(start.elapsed());
        Ok(())
    }
}

fn recipe(tactic: &str) -> Recipe {
    Recipe { tactic: tactic.to_owned(), parameters: Attr::Absent }
}

/// Inputs at the sizes that kernels are chosen for: the user's own, else made up, to be tried in order.
fn optimum_inputs(network: &Network, verify: &Verify, sizes: &Optimum) -> Vec<Result<HashMap<String, Value>, String>> {
    match verify {
        Verify::Given(inputs) => vec![Ok(inputs.clone())],
        Verify::Generated | Verify::Off => {
            TYPICAL_SIZES.map(|typical| generate_at(network, &|name| sizes.of(name, typical))).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_win_counts() {
        let won = |times: Result<(f64, f64), &str>| Engines { times: times.map_err(str::to_owned) }.is_won_by_times();
        assert!(won(Ok((97.0, 100.0))));
        assert!(!won(Ok((99.0, 100.0))), "within what figures are worth");
        assert!(!won(Ok((120.0, 100.0))));
        assert!(!won(Err("no inputs")), "nothing is known");
    }
}
