//! Plans with islands: what the fake device has no kernels for runs on the processor, and values are copied to and fro. And
//! files with programs for both.

use sinter_backend::BackEnd;
use sinter_builder::{BuildError, BuildOptions, Verify, build};
use sinter_conformance::kernels::gpu;
use sinter_conformance::random::grown;
use sinter_conformance::{control_networks, odd_networks};
use sinter_cpu::Cpu;
use sinter_fake::{Fake, Fault};
use sinter_ir::Network;
use sinter_plan::{Action, Place, Plan, PlanFile, Trust, from_bytes, programs_to_bytes, to_bytes};
use sinter_runtime::Engine;

use crate::devices::{agree, inputs_at};

fn networks() -> Vec<Network> {
    let mut all = odd_networks::networks();
    all.extend(control_networks::networks());
    all
}

fn with_islands(network: &Network, back_end: &dyn BackEnd) -> Plan {
    let options = BuildOptions { island: Some(&Cpu), ..BuildOptions::default() };
    let built = build(network, back_end, options).unwrap_or_else(|error| panic!("'{}': {error}", network.name));
    let dropped: Vec<_> = built.verification.dropped.iter().map(|dropped| &dropped.reason).collect();
    assert!(dropped.is_empty(), "'{}': {dropped:?}", network.name);
    assert_eq!(built.on_island.is_empty(), built.plan.islands.is_empty(), "'{}'", network.name);
    assert_eq!(built.costs.solved, built.costs.emitted, "'{}': the objective is what was emitted", network.name);
    from_bytes(to_bytes(&built.plan).into(), Trust::Nothing).expect("a plan that reads back")
}

fn copies(plan: &Plan) -> usize {
    let mut copies = 0;
    plan.graph.visit_steps(&mut |step| copies += usize::from(matches!(step.action, Action::Copy)));
    copies
}

/// Runs every network on a device with islands, and returns how many plans have copies, and how many no islands.
fn every_network_runs(back_end: &dyn BackEnd) -> (usize, usize) {
    let back_ends: [&dyn BackEnd; 2] = [back_end, &Cpu];
    let (mut with_copies, mut whole) = (0, 0);
    for network in networks() {
        let plan = with_islands(&network, back_end);
        with_copies += usize::from(copies(&plan) > 0);
        whole += usize::from(plan.islands.is_empty());
        let engine = Engine::from_plan(plan, &back_ends, 2).expect("an engine");
        for size in [3, 5, 3] {
            let inputs = inputs_at(&network, size);
            let found = engine.run(inputs.clone()).unwrap_or_else(|error| panic!("'{}': {error}", network.name));
            agree(&network, &inputs, &found);
        }
    }
    (with_copies, whole)
}

#[test]
fn every_network_runs_on_a_device_with_islands() {
    let fake = Fake::default();
    let (with_copies, whole) = every_network_runs(&fake);
    assert!(with_copies > 2 && whole > 5, "{with_copies} with copies, {whole} without islands");
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

#[test]
fn every_network_runs_on_the_gpu_with_islands() {
    let Some(gpu) = gpu() else { return };
    let (with_copies, whole) = every_network_runs(&gpu);
    println!("{with_copies} plans with copies, {whole} without islands");
    assert!(with_copies + whole > 0);
}

#[test]
fn faults_of_the_device_leave_islands_as_they_are() {
    let fake = Fake::default();
    let back_ends: [&dyn BackEnd; 2] = [&fake, &Cpu];
    let mut happened = 0;
    for problem in (0..60).map(grown) {
        let network = problem.network;
        let options = BuildOptions { verify: Verify::Off, island: Some(&Cpu), ..BuildOptions::default() };
        let Ok(built) = build(&network, &fake, options) else { continue };
        let plan = built.plan;
        if copies(&plan) == 0 {
            continue;
        }
        let engine = Engine::from_plan(plan, &back_ends, 1).expect("an engine");
        let inputs: Vec<_> = problem.sets[0].clone().into_iter().collect();
        let expected = engine.run(inputs.clone()).expect("a run");
        for (call, fault) in (0..12).flat_map(|call| [(call, Fault::Launch), (call, Fault::Memory)]) {
            fake.faults().inject(call, fault);
            let ran = engine.run(inputs.clone());
            if fake.faults().clear() {
                assert_eq!(ran.expect("nothing has failed yet"), expected, "'{}'", network.name);
                break;
            }
            assert!(ran.is_err(), "'{}': a fault that nobody sees", network.name);
            assert_eq!(engine.run(inputs.clone()).expect("a run after the fault"), expected, "'{}'", network.name);
            happened += 1;
        }
    }
    assert!(happened > 50, "only {happened} faults happened");
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

#[test]
fn islands_can_be_forbidden() {
    let fake = Fake::default();
    let mut refused = 0;
    for network in odd_networks::networks() {
        let nodes = with_islands(&network, &fake).islands.len();
        let options = || BuildOptions { verify: Verify::Off, island: Some(&Cpu), ..BuildOptions::default() };
        match build(&network, &fake, BuildOptions { forbid_islands: true, ..options() }) {
            Ok(_) => assert_eq!(nodes, 0, "'{}'", network.name),
            Err(error @ BuildError::Islands { .. }) => {
                assert!(error.to_string().lines().count() > 1, "{error}: the nodes are named");
                refused += 1;
            }
            Err(error) => panic!("'{}': {error}", network.name),
        }
    }
    assert!(refused > 3, "only {refused} networks with islands");
}

#[test]
fn a_file_with_programs_for_both_runs_on_both() {
    let fake = Fake::default();
    let folder = tempfile::tempdir().expect("a folder");
    let mut programs = 0;
    for (number, network) in networks().into_iter().enumerate() {
        let on_fake = with_islands(&network, &fake);
        let on_cpu = build(&network, &Cpu, BuildOptions::default()).expect("a plan").plan;
        let path = folder.path().join(format!("{number}.plan"));
        std::fs::write(&path, programs_to_bytes(&[&on_fake, &on_cpu])).expect("a file");
        let file = PlanFile::open(&path, Trust::Nothing).expect("a plan file");
        assert_eq!(file.targets().map(|targets| targets[0].back_end.as_str()).collect::<Vec<_>>(), ["fake", "cpu"]);
        let inputs = inputs_at(&network, 4);
        for (back_ends, expected) in [(vec![&fake as &dyn BackEnd, &Cpu], "fake"), (vec![&Cpu], "cpu")] {
            let engine = Engine::open(&path, &back_ends, 2).expect("an engine");
            assert_eq!(engine.plan().target.back_end, expected, "'{}'", network.name);
            agree(&network, &inputs, &engine.run(inputs.clone()).expect("a run"));
            programs += 1;
        }
    }
    assert!(programs > 20, "only {programs} programs");
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

/// Kernels are compiled when a plan is built, each once, and never when it is opened.
#[test]
fn a_plan_brings_its_code() {
    let fake = Fake::default();
    let network = odd_networks::networks().into_iter().find(|network| network.name == "convolution-few");
    let network = network.expect("a network");
    let plan = with_islands(&network, &fake);
    let (compiled, mut kernels) = (fake.compiles(), std::collections::BTreeSet::new());
    plan.graph.visit(&mut |graph, step| {
        let Some(launch) = step.launch() else { return };
        if step.outputs.iter().all(|id| graph.values[id.index()].place == Place::MAIN) {
            assert!(launch.general.code.is_some(), "a kernel without code");
            kernels.insert((launch.general.recipe.to_string(), launch.region.key().to_string()));
        }
    });
    assert_eq!(compiled, kernels.len(), "each kernel is compiled once");
    let engine = Engine::from_plan(plan.clone(), &[&fake, &Cpu], 1).expect("an engine");
    engine.run(inputs_at(&network, 3)).expect("a run");
    assert_eq!(fake.compiles(), compiled, "an engine compiles nothing");
    let without = Plan { code: Vec::new(), ..plan };
    assert!(from_bytes(to_bytes(&without).into(), Trust::Nothing).is_err(), "there is no such code");
}
