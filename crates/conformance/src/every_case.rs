//! Runs every case of a suite in all ways. Both evaluators of the reference executor run it. A plan that is built
//! without verification runs in the lean program on every tier. A plan that is built with verification must keep all
//! kernels and passes, and runs too if it differs from the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use bytes::Bytes;
use sinter_builder::{BuildOptions, Built, build};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, run, run_with};
use sinter_ir::Network;
use sinter_lean::client::LeanProgram;
use sinter_plan::{Plan, to_bytes};

use crate::TIERS;
use crate::engine::{THREADS, checked, lean_program};
use crate::onnx_cases::{Case, cases, ignored};

/// The results of all cases.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases that passed in every way.
    pub passed: usize,
    /// Cases that the ignore list excuses, and that pass in no way.
    pub ignored: usize,
    /// (case and how it ran, what is wrong).
    pub failed: Vec<(String, String)>,
    /// Tactics that computed each passed case; none where nothing is left to compute.
    pub tactics: BTreeMap<String, BTreeSet<String>>,
    /// Cases whose plan differs with verification.
    pub other_plans: usize,
}

/// Lean programs, one for each tier.
struct Programs(Vec<(&'static str, LeanProgram)>);

impl Programs {
    fn start(program: &Path) -> Result<Self, String> {
        let start = |tier: &&'static str| Ok((*tier, LeanProgram::start(program, Some(tier))?));
        let all: std::io::Result<Vec<_>> = TIERS.iter().map(start).collect();
        all.map(Self).map_err(|e| e.to_string())
    }
}

/// One case in one way.
struct Way {
    name: String,
    result: Result<(), String>,
}

/// All that happened to one case.
#[derive(Default)]
struct Outcome {
    ways: Vec<Way>,
    tactics: BTreeSet<String>,
    is_other_plan: bool,
    /// Kernels or passes that verification disabled: a failure even if the case is ignored.
    dropped: Option<String>,
}

impl Outcome {
    fn note(&mut self, name: impl Into<String>, result: Result<(), String>) {
        self.ways.push(Way { name: name.into(), result });
    }
}

fn on_tier(case: &Case, plan: &Plan, program: &mut LeanProgram) -> Result<(), String> {
    let mut bytes = Bytes::from(to_bytes(plan));
    // The lean program gets the plan once; an empty plan refers to it afterwards.
    let result = case.run(&mut |_, inputs| {
        let inputs = inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        program.run(std::mem::take(&mut bytes), THREADS, inputs)
    });
    result.map_err(|e| e.to_string())
}

/// Builds with verification, which must keep all kernels of the build without it.
fn verified(network: &Network) -> Result<Built, String> {
    let options = BuildOptions { threads: THREADS, ..BuildOptions::default() };
    let built = build(network, &Cpu, options).map_err(|e| e.to_string())?;
    match built.verification.dropped.first() {
        Some(dropped) => Err(format!("{}: {}: {}", dropped.name, dropped.origin, dropped.reason)),
        None => Ok(built),
    }
}

fn all_ways(folder: &Path, programs: &mut Programs) -> Outcome {
    let mut outcome = Outcome::default();
    let case = match Case::load(folder) {
        Ok(case) => case,
        Err(failure) => {
            outcome.note("read", Err(failure.to_string()));
            return outcome;
        }
    };
    let judged = case.run(&mut |network, inputs| run(network, inputs).map_err(|e| e.to_string()));
    outcome.note("judge", judged.map_err(|e| e.to_string()));
    let judged = case.run(&mut |network, inputs| run_with(network, inputs, &FastEvaluator).map_err(|e| e.to_string()));
    outcome.note("fast judge", judged.map_err(|e| e.to_string()));
    let plan = match checked(&case.network) {
        Ok(plan) => plan,
        Err(reason) => {
            outcome.note("build", Err(reason));
            return outcome;
        }
    };
    outcome.tactics = plan.tactics().into_iter().map(str::to_owned).collect();
    for (tier, program) in &mut programs.0 {
        outcome.note(*tier, on_tier(&case, &plan, program));
    }
    match verified(&case.network) {
        Err(reason) => outcome.dropped = Some(reason),
        Ok(built) if built.plan.graph != plan.graph => {
            outcome.is_other_plan = true;
            if let Some((tier, program)) = programs.0.last_mut() {
                outcome.note(format!("verified, {tier}"), on_tier(&case, &built.plan, program));
            }
        }
        Ok(_) => {}
    }
    outcome
}

impl Summary {
    fn add(&mut self, name: String, outcome: Outcome, is_ignored: bool) {
        let Outcome { ways, tactics, is_other_plan, dropped } = outcome;
        self.other_plans += usize::from(is_other_plan);
        let before = self.failed.len();
        self.failed.extend(dropped.map(|reason| (format!("{name}, built with verification"), reason)));
        for Way { name: way, result } in ways {
            match (result, is_ignored) {
                (Ok(()), true) => {
                    self.failed.push((format!("{name}, {way}"), "it passes, but stands in ignored.txt".to_owned()));
                }
                (Err(reason), false) => self.failed.push((format!("{name}, {way}"), reason)),
                _ => {}
            }
        }
        match self.failed.len() == before {
            true if is_ignored => self.ignored += 1,
            true => {
                self.passed += 1;
                self.tactics.insert(name, tactics);
            }
            false => {}
        }
    }
}

/// Runs all cases of a suite on all cores.
///
/// # Errors
/// When the suite's folder cannot be read or the lean program does not start.
pub fn run_every_case(data: &Path, suite: &str) -> Result<Summary, String> {
    let folders = cases(data, suite).map_err(|e| e.to_string())?;
    let (program, ignored) = (lean_program()?, ignored());
    let (next, summary) = (AtomicUsize::new(0), Mutex::new(Summary::default()));
    let name_of = |folder: &PathBuf| format!("{suite}/{}", folder.file_name().unwrap_or_default().to_string_lossy());
    let work = || -> Result<(), String> {
        let mut programs = Programs::start(&program)?;
        while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (name, outcome) = (name_of(folder), all_ways(folder, &mut programs));
            let is_ignored = ignored.contains_key(name.as_str());
            summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(name, outcome, is_ignored);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers = 0..available_parallelism().map_or(1, usize::from);
        let all: Vec<_> = workers.map(|_| scope.spawn(work)).collect();
        all.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a case panicked".to_owned())?)
    })?;
    let mut summary = summary.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    summary.failed.sort();
    Ok(summary)
}
