//! The steady state: nothing is allocated, nothing inferred, one layout per shape; memory flat over loading and
//! unloading.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sinter_backend::{BackEnd, Device, KernelError, Proposer, Tactic, Target};
use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::engine::{built, lean_program};
use sinter_cpu::launch::{self, Threads, Workers};
use sinter_cpu::{Cpu, Team};
use sinter_lean::client::LeanProgram;
use sinter_plan::{
    Bound, Graph, Launch, PlanValueId, SelfTest, SelfTestInput, SelfTestOutput, SelfTestVector, Storage, Variant,
    to_bytes,
};
use sinter_runtime::{Engine, EngineOptions, Observer, RuntimeError, StepValues};
use sinter_testkit::allocator::{Group, allocated_so_far};

use crate::models::{network_of, tensors};

fn engine_of(name: &str, threads: usize) -> Option<Engine> {
    let network = network_of(&crate::shared("models")?.join(name)).expect("a model that imports");
    Some(Engine::from_plan(built(&network).expect("a plan"), &[&Cpu], threads).expect("an engine"))
}

/// The shared models in ONNX with their first inputs, in order of their names.
fn models() -> Vec<(String, Vec<(String, Value)>)> {
    let Some(folder) = crate::shared("models") else { return Vec::new() };
    let entries = std::fs::read_dir(&folder).expect("the models").map(|entry| entry.expect("a model").file_name());
    let mut names: Vec<String> = entries.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    let with_inputs = |name: String| {
        let inputs = folder.join(&name).join("inputs_0.npz");
        if !folder.join(&name).join("model.onnx").exists() || !inputs.exists() {
            return None;
        }
        let given = tensors(&inputs).expect("inputs").into_iter();
        Some((name, given.map(|(input, tensor)| (input, Value::Tensor(tensor))).collect()))
    };
    names.into_iter().filter_map(with_inputs).collect()
}

fn is_dynamic(graph: &Graph, value: PlanValueId) -> bool {
    graph.values[value.index()].storage == Storage::Dynamic
}

/// Notes the kernels that allocate, by the positions of their steps.
struct Watch {
    before: usize,
    allocating: BTreeSet<usize>,
}

impl Observer for Watch {
    fn before(&mut self, _: usize) {
        self.before = allocated_so_far();
    }

    fn after(&mut self, position: usize, _: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        if allocated_so_far() > self.before {
            self.allocating.insert(position);
        }
        Ok(())
    }
}

/// Where sizes are dynamic the runtime allocates results, and bodies of control flow run steps of their own: those
/// steps are left out here.
#[test]
fn no_kernel_allocates_in_the_steady_state() {
    let mut found = BTreeSet::new();
    for (name, given) in models() {
        let Some(engine) = engine_of(&name, 1) else { return };
        engine.run(given.clone()).expect("a run");
        let mut watch = Watch { before: 0, allocating: BTreeSet::new() };
        engine.run_observed(given, &mut watch).expect("a run");
        let graph = &engine.plan().graph;
        for step in watch.allocating.into_iter().map(|position| &graph.steps[position]) {
            if let Some(Launch { general: Variant { recipe, .. }, .. }) = step.launch()
                && !step.outputs.iter().any(|output| is_dynamic(graph, *output))
            {
                found.insert((name.clone(), recipe.tactic.clone()));
            }
        }
    }
    assert_eq!(found, BTreeSet::new());
}

static RUNS: Group = Group::new();

/// The back end with what its threads allocate counted in [`RUNS`].
struct Counted;

struct CountedWorkers(Team);

impl Workers for CountedWorkers {
    fn count(&self) -> usize {
        self.0.count()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.run(tasks, &|index| RUNS.watch(|| task(index)));
    }
}

impl BackEnd for Counted {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Cpu.tactics()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        let workers = Threads::Given(Arc::new(CountedWorkers(Team::new(threads))));
        Ok(launch::open(Cpu::host_tactics(), self.target(threads), workers))
    }
}

#[test]
fn a_run_in_the_steady_state_allocates_nothing_on_any_thread() {
    let (mut watched, mut found) = (0, Vec::new());
    for (name, given) in models() {
        let network = network_of(&crate::shared("models").expect("the models").join(&name)).expect("a model");
        let plan = built(&network).expect("a plan");
        if (0..plan.graph.values.len()).any(|value| is_dynamic(&plan.graph, PlanValueId::new(value))) {
            continue;
        }
        watched += 1;
        for threads in [1, 2] {
            let engine = Engine::from_plan(plan.clone(), &[&Counted], threads).expect("an engine");
            let mut context = engine.context();
            let mut bindings = context.bindings();
            for (input, value) in &given {
                bindings.set(input, value.clone()).expect("an input");
            }
            context.run_into(&mut bindings).expect("a run");
            let before = RUNS.count();
            RUNS.watch(|| context.run_into(&mut bindings)).expect("a run");
            let allocations = RUNS.count() - before;
            let pooled = engine.run(given.clone()).expect("a run");
            assert!(bindings.to_values().expect("outputs") == pooled, "{name}: bindings have other results");
            if allocations > 0 {
                found.push((name.clone(), threads, allocations));
            }
        }
    }
    println!("{watched} models without values of dynamic sizes");
    assert_eq!(found, Vec::new());
}

#[test]
fn a_new_shape_costs_one_layout() {
    let Some(engine) = engine_of("bert-mini-dynamic", 1) else { return };
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let names: Vec<String> = engine.input_names().map(str::to_owned).collect();
    let shapes = [(1, 1), (1, 2), (2, 3), (3, 5), (1, 7), (2, 11), (1, 13), (5, 17), (1, 19), (7, 2)];
    let mut times = Vec::new();
    for (batch, tokens) in shapes {
        for name in &names {
            let ones = Tensor::from_vec(&[batch, tokens], vec![1i64; batch * tokens]).expect("tokens");
            bindings.set(name, ones.into()).expect("an input");
        }
        let start = Instant::now();
        context.prepare(&mut bindings).expect("sizes");
        times.push(start.elapsed());
        context.run_into(&mut bindings).expect("a run");
    }
    times.sort();
    println!("{} steps laid out in {:?} (median of {})", engine.plan().graph.steps.len(), times[5], times.len());
    assert_eq!(context.counters().layouts, shapes.len());
    assert_eq!(context.counters().inferences, 0);
}

#[test]
fn memory_is_bounded_before_it_is_taken() {
    let Some(folder) = crate::shared("models") else { return };
    let network = network_of(&folder.join("bert-mini-dynamic")).expect("a model that imports");
    let options = EngineOptions { threads: 1, max_memory: 1 << 20 };
    let engine = Engine::load(built(&network).expect("a plan"), &[&Cpu], &options).expect("an engine");
    let inputs = |tokens: usize| {
        let ones = Tensor::from_vec(&[1, tokens], vec![1i64; tokens]).expect("tokens");
        engine.input_names().map(|name| (name.to_owned(), Value::Tensor(ones.clone()))).collect::<Vec<_>>()
    };
    assert!(engine.run(inputs(4)).is_ok());
    assert!(matches!(
        engine.run(inputs(20_000)),
        Err(RuntimeError::Memory { limit: 0x10_0000, .. } | RuntimeError::Step { .. })
    ));
    assert!(engine.run(inputs(4)).is_ok(), "a refused run leaves the engine as it was");
}

#[test]
fn sealed_vectors_are_checked() {
    let Some(folder) = crate::shared("models") else { return };
    let network = network_of(&folder.join("mnist8")).expect("a model that imports");
    let mut plan = built(&network).expect("a plan");
    let engine = |plan: &sinter_plan::Plan| {
        let bytes = Bytes::from(to_bytes(plan));
        let plan = sinter_plan::from_bytes(bytes, sinter_plan::Trust::Nothing).expect("a plan that reads back");
        Engine::from_plan(plan, &[&Cpu], 1).expect("an engine")
    };
    assert!(matches!(engine(&plan).self_test(), Err(RuntimeError::NoSelfTest)));
    let input =
        SelfTestInput::Uniform { data_type: DataType::F32, sizes: vec![1, 1, 28, 28], seed: 3, low: 0.0, high: 255.0 };
    let given = vec![(plan.inputs[0].name.clone(), Value::Tensor(input.tensor().expect("an input")))];
    let output = engine(&plan).run(given).expect("a run").remove(0);
    let output = output.as_tensor().expect("a tensor").clone();
    let seal = |tensor: &Tensor| {
        let bound = Bound::Within { absolute: 0.0, relative: 1e-4 };
        let outputs = vec![SelfTestOutput::of(tensor, bound).expect("numbers")];
        Some(SelfTest { vectors: vec![SelfTestVector { inputs: vec![input.clone()], outputs }] })
    };
    plan.self_test = seal(&output);
    assert_eq!(engine(&plan).self_test().expect("agreement"), 1);
    let wrong: Vec<f64> = output.to_floats().iter().map(|v| v * 1.01).collect();
    plan.self_test = seal(&Tensor::from_floats(DataType::F32, output.sizes(), &wrong).expect("a tensor"));
    assert!(matches!(engine(&plan).self_test(), Err(RuntimeError::SelfTest { vector: 0, .. })));
}

/// Resident memory of a process, in pages.
fn resident_pages(process: u32) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn memory_stays_flat_over_load_run_unload() {
    let Some(folder) = crate::shared("models") else { return };
    let mut lean = LeanProgram::start(&lean_program().expect("the lean program"), None).expect("the lean program");
    let network = network_of(&folder.join("mnist8")).expect("a model that imports");
    let bytes = Bytes::from(to_bytes(&built(&network).expect("a plan")));
    let inputs: Vec<(String, Value)> = tensors(&folder.join("mnist8/inputs_0.npz"))
        .expect("inputs")
        .into_iter()
        .map(|(name, tensor)| (name, tensor.into()))
        .collect();
    // The allocator's own holes come and go: what counts is the least of many cycles.
    let mut least = |rounds: usize| {
        let pages = (0..rounds).map(|_| {
            lean.run(bytes.clone(), 2, inputs.clone()).expect("a run");
            resident_pages(lean.id())
        });
        pages.min().flatten()
    };
    let (_, Some(before), _, Some(after)) = (least(250), least(250), least(250), least(250)) else { return };
    println!("at least {before} pages in cycles 250 to 500, {after} in cycles 750 to 1000");
    // The process has 10 MB, of which one more heap of the allocator is over 1 %: half a kilobyte per cycle is allowed.
    assert!(after <= before + (before / 100).max(64), "resident memory grew from {before} to {after} pages");
}
