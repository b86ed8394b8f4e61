//! One network through the whole path: built without and with verification, saved, read, run at two sizes, each twice; some
//! on the fake device too, with islands on the processor.

use std::collections::HashMap;

use sinter_backend::BackEnd;
use sinter_base::Value;
use sinter_builder::{BuildError, BuildOptions, SizeHint, SizeHints, Verify, build};
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::inputs::sizes_of;
use sinter_interp::{FastEvaluator, Tolerance, compare, run, run_with};
use sinter_plan::{Plan, Trust, from_bytes, to_bytes};
use sinter_runtime::Engine;

use crate::engine::check_kernels;
use crate::random::Problem;
use crate::random::agreement::Answers;

/// Threads that kernels are chosen for.
const THREADS: usize = 2;

/// Memory of one build: several run at once, and synthetic inputs of some networks would take all there is.
const MEMORY: u64 = 2 << 30;

/// What failures of the reference executor begin with: the network itself is wrong.
pub(crate) const JUDGE: &str = "the judge";

/// One network of so many runs on the fake device, and one with two profiles of sizes.
const ON_FAKE: u64 = 4;

/// How a network that did nothing wrong ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Both plans agreed with the reference executor.
    Agrees,
    /// The build refuses the network: the back end has no kernel for an operator at this element type.
    Refused,
}

fn options(verify: Verify) -> BuildOptions<'static> {
    BuildOptions { threads: THREADS, verify, max_memory: MEMORY, ..BuildOptions::default() }
}

/// Builds and runs a problem.
///
/// # Errors
/// The failure, as text.
pub fn check(problem: &Problem, seed: u64) -> Result<Found, String> {
    let mut answers = Vec::new();
    for set in &problem.sets {
        let expected = run(&problem.network, set).map_err(|e| format!("{JUDGE}: {e}"))?;
        let fast = run_with(&problem.network, set, &FastEvaluator).map_err(|e| format!("the fast judge: {e}"))?;
        let mut known = Answers::new(expected);
        known.compare(problem, set, &fast).map_err(|reason| format!("the fast judge: {reason}"))?;
        answers.push(known);
    }
    let plain = match build(&problem.network, &Cpu, options(Verify::Off)) {
        Ok(built) => built.plan,
        Err(BuildError::Unsupported(_)) => return Ok(Found::Refused),
        Err(error) => return Err(format!("build without verification: {error}")),
    };
    check_kernels(&plain)?;
    check_plan(&plain, problem, &mut answers, &[&Cpu], seed).map_err(|reason| format!("unverified plan: {reason}"))?;
    // Verified with synthetic inputs, or with these.
    let verify = if seed.is_multiple_of(2) { Verify::Generated } else { Verify::Given(problem.sets[0].clone()) };
    let built = build(&problem.network, &Cpu, options(verify)).map_err(|e| format!("build with verification: {e}"))?;
    if let Some(dropped) = built.verification.dropped.first() {
        return Err(format!("dropped: {}: {}: {}", dropped.name, dropped.origin, dropped.reason));
    }
    if built.plan.graph != plain.graph {
        let checked = check_plan(&built.plan, problem, &mut answers, &[&Cpu], seed);
        checked.map_err(|reason| format!("verified plan: {reason}"))?;
    }
    if seed % ON_FAKE == 1 {
        with_profiles(problem, &mut answers, seed).map_err(|reason| format!("with profiles: {reason}"))?;
    }
    if seed.is_multiple_of(ON_FAKE) {
        on_fake(problem, &mut answers, seed).map_err(|reason| format!("with islands: {reason}"))?;
    }
    Ok(Found::Agrees)
}

/// The network with kernels for its first sizes, and others for its second ones.
fn with_profiles(problem: &Problem, answers: &mut [Answers], seed: u64) -> Result<(), String> {
    let [first, second] = &problem.sets;
    let profile = |set: &HashMap<String, Value>| {
        let hint = |size: i64| SizeHint { min: Some(size), opt: Some(size), max: Some(size) };
        SizeHints(sizes_of(&problem.network, set).into_iter().map(|(name, size)| (name, hint(size))).collect())
    };
    if profile(first).0.is_empty() {
        return Ok(());
    }
    let options = BuildOptions { sizes: profile(first), profiles: vec![profile(second)], ..options(Verify::Off) };
    let built = build(&problem.network, &Cpu, options).map_err(|e| format!("build: {e}"))?;
    check_plan(&built.plan, problem, answers, &[&Cpu], seed)
}

/// The network on the fake device; what that has no kernels for runs on the processor.
fn on_fake(problem: &Problem, answers: &mut [Answers], seed: u64) -> Result<(), String> {
    let fake = Fake::default();
    let options = BuildOptions { island: Some(&Cpu), ..options(Verify::Off) };
    let built = build(&problem.network, &fake, options).map_err(|e| format!("build: {e}"))?;
    if built.costs.solved != built.costs.emitted {
        return Err(format!("the cover costs {}, its pieces {}", built.costs.solved, built.costs.emitted));
    }
    check_plan(&built.plan, problem, answers, &[&fake, &Cpu], seed)?;
    match fake.account().used() {
        0 => Ok(()),
        bytes => Err(format!("{bytes} bytes of the device are lost")),
    }
}

fn check_plan(
    plan: &Plan,
    problem: &Problem,
    answers: &mut [Answers],
    back_ends: &[&dyn BackEnd],
    seed: u64,
) -> Result<(), String> {
    let plan = from_bytes(to_bytes(plan).into(), Trust::Nothing).map_err(|e| format!("reading it back: {e}"))?;
    let threads = 1 + (seed / 2 % 2) as usize;
    let engine = Engine::from_plan(plan, back_ends, threads).map_err(|e| format!("loading: {e}"))?;
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let mut first: Vec<Vec<Value>> = Vec::new();
    // Runs the first sizes once more at the end, because the second run must not affect later results.
    for at in [0, 1, 0] {
        let set: &HashMap<String, Value> = &problem.sets[at];
        for (name, value) in set {
            bindings.set(name, value.clone()).map_err(|e| format!("run {at}: {e}"))?;
        }
        context.run_into(&mut bindings).map_err(|e| format!("run {at}: {e}"))?;
        let found = bindings.to_values().map_err(|e| format!("run {at}: {e}"))?;
        answers[at].compare(problem, set, &found).map_err(|reason| format!("run {at}: {reason}"))?;
        first.push(found);
    }
    for (output, (before, after)) in problem.network.outputs.iter().zip(first[0].iter().zip(&first[2])) {
        compare(after, before, Tolerance::EXACT)
            .map_err(|e| format!("output {} of the first sizes, run again: {e}", output.name))?;
    }
    Ok(())
}
