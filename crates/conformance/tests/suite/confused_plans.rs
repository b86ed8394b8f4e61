//! Plans with a change and recomputed hashes: the reader refuses them, the run fails, or the results are those of the
//! plan.
//!
//! The results of a plan are those that its regions compute on values, wherever these lie ([`meaning`]): so a changed
//! attribute, operand or number of iterations may rightly give another result, and a changed buffer, alias, register or
//! operand with shared memory may not. A kernel that panics is a failure, even if a caller catches it. The test loads
//! plans whose loops run too long, but does not run them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sinter_backend::{BackEnd, Device, KernelError, Proposer, Tactic, Target};
use sinter_builder::{BuildOptions, Verify, build};
use sinter_conformance::engine::built;
use sinter_conformance::fuzz::{inputs_of, load_plan};
use sinter_conformance::kernels::gpu;
use sinter_conformance::meaning::{Limits, Trouble, meaning};
use sinter_conformance::onnx_cases::Case;
use sinter_conformance::random::grown;
use sinter_conformance::{control_networks, odd_networks};
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::{Tolerance, compare};
use sinter_ir::Network;
use sinter_plan::{Graph, Launch, Plan, Register, Storage, Trust, from_bytes, to_bytes};
use sinter_testkit::Random;

use crate::confusion::{bodies, body_at, confuse, with_attributes};
use crate::devices;
use crate::hostile_plans::{corpus, folders};
use crate::told_sizes;

/// Changed plans of a test, unless `SINTER_HOSTILE_PLANS` says how many.
const MUTATIONS: usize = 3_000;
/// Limits of a plan.
const LIMITS: Limits = Limits { steps: 20_000, bytes: 64 << 20 };
/// Tolerance of results: sums in other orders, in networks that may be unstable.
const TOLERANCE: Tolerance = Tolerance { relative: 1e-2, absolute: 1e-4 };
/// A round that takes longer than this does not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of a plan with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The reader or the loader refuses it.
    Refused,
    /// Its loops would run longer than the test waits.
    Endless,
    /// It ends with an error.
    Failed,
    /// It gives what its regions say.
    Right,
}

/// Runs a plan, if the reader accepts it, with sizes that differ and with equal sizes.
///
/// # Errors
/// A panic, or results that are not what the regions of the plan say.
fn fate(plan: &Plan, back_ends: &[&dyn BackEnd]) -> Result<Fate, String> {
    let Ok(plan) = from_bytes(to_bytes(plan).into(), Trust::Nothing) else { return Ok(Fate::Refused) };
    let Ok(engine) = load_plan(plan.clone(), back_ends) else { return Ok(Fate::Refused) };
    let mut fate = Fate::Refused;
    for step in [0, 1] {
        let Some(inputs) = inputs_of(&plan, step) else { return Ok(Fate::Refused) };
        let expected = meaning(&plan, back_ends, &inputs, &LIMITS);
        if expected == Err(Trouble::Endless) {
            return Ok(Fate::Endless);
        }
        let found = match engine.run(inputs) {
            Err(error) if error.to_string().contains("please report") => return Err(error.to_string()),
            Err(_) => {
                fate = fate.max(Fate::Failed);
                continue;
            }
            Ok(found) => found,
        };
        let expected = expected.map_err(|trouble| format!("results, where the operators say {trouble:?}"))?;
        for (found, expected) in found.iter().zip(&expected) {
            compare(found, expected, TOLERANCE).map_err(|e| format!("another result: {e}"))?;
        }
        fate = Fate::Right;
    }
    Ok(fate)
}

/// Where the plan of the present round is kept.
fn kept_file(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sinter-{test}"))
}

/// Ends the program when a round does not end.
fn watch(file: PathBuf) -> mpsc::Sender<()> {
    let (ticks, rounds) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            match rounds.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("a run does not end; its plan is {}", file.display());
                    std::process::abort();
                }
            }
        }
    });
    ticks
}

/// Changes of plans, half of them in bodies where there are some.
fn confused(test: &str, seed: u64, plans: &[Plan], back_ends: &[&dyn BackEnd]) {
    let rounds = std::env::var("SINTER_HOSTILE_PLANS").ok().map(|text| text.parse().expect("a number of plans"));
    let rounds: usize = rounds.unwrap_or(MUTATIONS);
    let (mut random, file) = (Random(seed), kept_file(test));
    let ticks = watch(file.clone());
    let mut fates: BTreeMap<Fate, usize> = BTreeMap::new();
    for round in 0..rounds {
        let mut plan = plans[random.below(plans.len())].clone();
        (0..=random.below(2)).for_each(|_| confuse(&mut plan, &mut random));
        std::fs::write(&file, to_bytes(&plan)).expect("a file for the plan");
        ticks.send(()).expect("a receiver");
        let found =
            catch_unwind(AssertUnwindSafe(|| fate(&plan, back_ends))).unwrap_or_else(|_| Err("a panic".to_owned()));
        let found = found.unwrap_or_else(|why| panic!("round {round}, '{}', {}: {why}", plan.name, file.display()));
        *fates.entry(found).or_default() += 1;
    }
    println!("{rounds} changes of {} plans: {fates:?}", plans.len());
    let _ = std::fs::remove_file(file);
    let right = fates.get(&Fate::Right).copied().unwrap_or(0);
    assert!(right * 10 >= rounds, "only {right} of {rounds} gave results");
}

fn plans_of(networks: &[Network]) -> Vec<Plan> {
    networks.iter().map(|network| built(network).expect("a plan")).collect()
}

/// The CPU without kernels with packed weights: only its kernel can read a packed weight, and the reference of a body
/// cannot.
struct Unpacked;

/// Tactics that pack weights.
const PACKING: [&str; 6] = [
    "cpu.quantize.around.f32",
    "cpu.matmul.panels.f32",
    "cpu.conv.channels_last.f32",
    "cpu.conv.depthwise_channels_last.f32",
    "cpu.recurrent.packed.f32",
    "cpu.trees.packed",
];

impl BackEnd for Unpacked {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Cpu.tactics().into_iter().filter(|tactic| !PACKING.contains(&tactic.name())).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Cpu.open(threads)
    }
}

/// A plan in which every weight is as the network has it.
fn unpacked(network: &Network) -> Result<Plan, String> {
    let options = BuildOptions { verify: Verify::Off, ..BuildOptions::default() };
    let plan = build(network, &Unpacked, options).map_err(|e| e.to_string())?.plan;
    let mut packed = 0;
    plan.graph.visit_steps(&mut |step| {
        packed += usize::from(step.launch().is_some_and(|launch| !launch.general.packed.is_empty()));
    });
    if packed == 0 { Ok(plan) } else { Err(format!("{packed} steps with packed weights")) }
}

fn unpacked_plans(networks: &[Network]) -> Vec<Plan> {
    networks.iter().map(|network| unpacked(network).expect("a plan")).collect()
}

#[test]
fn plans_without_control_flow() {
    let Some(cases) = corpus() else { return };
    let mut own = plans_of(&odd_networks::networks());
    own.retain(|plan| bodies(&plan.graph) == 0);
    confused("confused-plan", 13, &[cases, own].concat(), &[&Cpu]);
}

#[test]
fn plans_with_control_flow() {
    let Some(folders) = folders() else { return };
    let has_bodies = |plan: &Plan| bodies(&plan.graph) > 0;
    let cases = folders.iter().filter_map(|folder| unpacked(&Case::load(folder).ok()?.network).ok());
    let mut plans = unpacked_plans(&control_networks::networks());
    let odd = odd_networks::networks().into_iter().filter_map(|network| unpacked(&network).ok());
    plans.extend(cases.chain(odd).filter(has_bodies));
    confused("confused-control-flow", 19, &plans, &[&Cpu]);
}

#[test]
fn plans_of_the_fake_device() {
    let fake = Fake::default();
    let plans: Vec<Plan> = devices::plans(&fake, &Verify::Off).into_iter().map(|(_, plan)| plan).collect();
    confused("confused-device", 23, &plans, &[&fake]);
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

#[test]
fn plans_of_the_gpu() {
    let Some(gpu) = gpu() else { return };
    let plans: Vec<Plan> = devices::plans(&gpu, &Verify::Off).into_iter().map(|(_, plan)| plan).collect();
    confused("confused-gpu", 31, &plans, &[&gpu]);
}

/// Plans with copies between devices: values may move to another one, copies may copy something else.
#[test]
fn plans_with_islands() {
    let fake = Fake::default();
    let mut plans = Vec::new();
    for network in (0..80).map(|seed| grown(seed).network) {
        let options = BuildOptions { verify: Verify::Off, island: Some(&Cpu), ..BuildOptions::default() };
        let Ok(built) = build(&network, &fake, options) else { continue };
        let has_weights = built.plan.graph.values.iter().any(|value| matches!(value.storage, Storage::Weight(_)));
        if !built.plan.islands.is_empty() && (has_weights || plans.len() < 30) {
            plans.push(built.plan);
        }
    }
    assert!(plans.len() > 10, "only {} plans with islands", plans.len());
    confused("confused-islands", 29, &plans, &[&fake, &Cpu]);
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

/// Plans whose kernels tell sizes, which later steps depend on.
#[test]
fn plans_with_told_sizes() {
    let fake = Fake::default();
    let networks = told_sizes::networks().map(|(_, network)| network);
    let plans: Vec<Plan> = networks.iter().map(|network| told_sizes::planned(network, &Cpu, None)).collect();
    confused("confused-told-sizes", 31, &plans, &[&Cpu]);
    let plans: Vec<Plan> = networks.iter().map(|network| told_sizes::planned(network, &fake, Some(&Cpu))).collect();
    confused("confused-told-sizes-islands", 33, &plans, &[&fake, &Cpu]);
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

/// Every two values of a body in one buffer: refused, unless their lives do not overlap.
#[test]
fn values_of_bodies_do_not_overwrite_each_other() {
    let (mut refused, mut right) = (0, 0);
    for plan in unpacked_plans(&control_networks::networks()) {
        for number in 0..bodies(&plan.graph) {
            let placed = |graph: &Graph| -> Vec<usize> {
                let is_placed = |at: &usize| matches!(graph.values[*at].storage, Storage::Arena(_));
                (0..graph.values.len()).filter(is_placed).collect()
            };
            let mut own = plan.clone();
            let all = placed(body_at(&mut own.graph, &mut number.clone()).expect("a body"));
            for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
                let mut changed = plan.clone();
                let body = body_at(&mut changed.graph, &mut number.clone()).expect("a body");
                let (from, to) = (body.values[a].storage.clone(), &mut body.values[b].storage);
                if std::mem::replace(to, from.clone()) == from {
                    continue;
                }
                match fate(&changed, &[&Cpu]) {
                    Ok(Fate::Refused) => refused += 1,
                    Ok(Fate::Right) => right += 1,
                    other => panic!("'{}', body {number}: v{b} where v{a} lies: {other:?}", plan.name),
                }
            }
        }
    }
    assert!(refused > 50 && right > 10, "{refused} refused, {right} right");
}

/// A pointwise program in a body that reads an operand which the step does not have.
#[test]
fn programs_of_bodies_read_their_own_operands() {
    let mut changes = 0;
    for plan in unpacked_plans(&control_networks::networks()) {
        for number in 0..bodies(&plan.graph) {
            let steps = body_at(&mut plan.clone().graph, &mut number.clone()).expect("a body").steps.len();
            for at in 0..steps {
                let mut changed = plan.clone();
                let body = body_at(&mut changed.graph, &mut number.clone()).expect("a body");
                let Some(Launch { region, .. }) = body.steps[at].launch_mut() else { continue };
                let beyond = |text: &str| text.replace("input.f32 0", "input.f32 2147483648");
                let Some(other) = with_attributes(region, beyond).filter(|other| other != region) else { continue };
                *region = other;
                let error = from_bytes(to_bytes(&changed).into(), Trust::Nothing).expect_err("a refusal").to_string();
                assert!(error.contains("inside of") && error.contains("is missing"), "'{}': {error}", plan.name);
                changes += 1;
            }
        }
    }
    assert!(changes > 10, "only {changes} programs");
}

/// A step whose scratch memory is in any other register: refused, or large enough.
#[test]
fn registers_of_scratch_memory_are_not_trusted() {
    let of = |name: &str| odd_networks::networks().into_iter().find(|n| n.name == name).expect("a network");
    let [plan] = plans_of(&[of("convolution-few")]).try_into().expect("one plan");
    let workspace = |plan: &mut Plan| -> Vec<Option<Register>> {
        plan.graph.steps.iter().filter_map(|step| Some(step.launch()?.general.workspace)).collect()
    };
    assert!(workspace(&mut plan.clone()).iter().any(Option::is_some), "a kernel with scratch memory");
    let mut fates = BTreeMap::new();
    for register in 0..=plan.shapes.register_count() {
        let mut changed = plan.clone();
        for step in &mut changed.graph.steps {
            if let Some(own) = step.launch_mut().and_then(|launch| launch.general.workspace.as_mut()) {
                *own = Register(register as u32);
            }
        }
        *fates.entry(fate(&changed, &[&Cpu]).expect("an error or a result")).or_insert(0usize) += 1;
    }
    assert!(fates[&Fate::Refused] > 1 && fates[&Fate::Right] == 1, "{fates:?}");
}
