//! Compares the plan by times with the plan by estimates as whole engines: tuning never makes an engine slower.
//!
//! A kernel that wins by itself may lose among others, whose values leave the caches in another state. So the build
//! runs both plans in turns on the same inputs, and takes the plan by times only where it wins by more than the noise
//! of the figures. As for single kernels the shortest run is the figure; it is stored with the timings, so that a
//! locked build decides alike.

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

/// The share of the time for tuning that is reserved for engines.
pub(crate) const SHARE: f64 = 0.2;
/// Figures are stable after this much time.
const ENOUGH: Duration = Duration::from_secs(2);
/// Time that one engine runs before the other's turn.
const TURN: Duration = Duration::from_millis(10);
/// The share of the time that a win must save.
const SIGNIFICANT: f64 = 0.02;
/// Names under which the cache stores the times of the plan by times and of the plan by estimates.
const TACTICS: [&str; 2] = ["engine.by_times", "engine.by_estimates"];

/// The plan by times compared with the plan by estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct Engines {
    /// Nanoseconds of one inference by the plan by times and by the plan by estimates, or why they are unknown.
    pub times: Result<(f64, f64), String>,
}

impl Engines {
    /// Does the plan by times win by more than the noise of the figures? False where the times are unknown.
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
struct TimedEngine {
    context: Context,
    bindings: Bindings,
    best: Duration,
}

impl<'a> EngineComparison<'a> {
    /// Compares the plan by times with the plan by estimates, with kernels chosen for these sizes; `None` where they
    /// are the same.
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

    /// The result of an earlier comparison.
    pub(crate) fn known(&self, database: &TuningDatabase) -> Option<Engines> {
        let times = database.times.as_ref()?;
        let time = |tactic| times.cache.get(&times.device, &self.problem, &recipe(tactic)).map(nanoseconds);
        let [timed, estimated] = TACTICS.map(time);
        let (timed, estimated) = (timed?, estimated?);
        Some(Engines { times: timed.and_then(|timed| Ok((timed, estimated?))) })
    }

    /// Timings that a locked build lacks.
    pub(crate) fn missing(&self) -> Vec<MissingTiming> {
        TACTICS.map(|tactic| MissingTiming { tactic: tactic.to_owned(), problem: self.problem.clone() }).into()
    }

    /// Runs both plans in turns and records their times; subtracts the time spent from `left`.
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
            // At least 1: a clock of coarse steps must not make an engine free.
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
        let mut engines = self.start(inputs, back_ends, max_memory)?;
        for turn in 0.. {
            if turn > 0 && Instant::now() >= deadline {
                break;
            }
            for at in [turn % 2, (turn + 1) % 2] {
                let (engine, begin) = (&mut engines[at], Instant::now());
                engine.run()?;
                while begin.elapsed() < TURN {
                    engine.run()?;
                }
            }
        }
        Ok(engines.map(|engine| engine.best))
    }

    /// Both plans with the first inputs that they take.
    fn start(
        &self,
        inputs: Vec<Result<HashMap<String, Value>, String>>,
        back_ends: &[&dyn BackEnd],
        max_memory: u64,
    ) -> Result<[TimedEngine; 2], String> {
        let max_memory = usize::try_from(max_memory).unwrap_or(usize::MAX);
        let engine = |plan: &Plan| {
            let options = EngineOptions { threads: plan.target.units, max_memory };
            Engine::load(plan.clone(), back_ends, &options).map_err(|e| e.to_string())
        };
        let engines = [engine(self.plans[0])?, engine(self.plans[1])?];
        let mut first = None;
        for inputs in inputs {
            match inputs
                .and_then(|inputs| Ok([TimedEngine::of(&engines[0], &inputs)?, TimedEngine::of(&engines[1], &inputs)?]))
            {
                Ok(timed) => return Ok(timed),
                Err(reason) => {
                    first.get_or_insert(reason);
                }
            }
        }
        Err(first.unwrap_or_default())
    }
}

impl TimedEngine {
    /// Runs once; the first run touches memory and code for the first time and does not count.
    fn of(engine: &Engine, inputs: &HashMap<String, Value>) -> Result<Self, String> {
        let context = engine.context();
        let mut bindings = context.bindings();
        for (name, value) in inputs {
            bindings.set(name, value.clone()).map_err(|e| e.to_string())?;
        }
        let mut engine = Self { context, bindings, best: Duration::MAX };
        engine.run()?;
        Ok(Self { best: Duration::MAX, ..engine })
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

/// Inputs at the optimum sizes: the user's own, else synthetic ones, to be tried in order.
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
        assert!(!won(Ok((99.0, 100.0))), "within the noise of the figures");
        assert!(!won(Ok((120.0, 100.0))));
        assert!(!won(Err("no inputs")), "nothing is known");
    }
}
