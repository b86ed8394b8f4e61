//! The steady state: which kernels allocate, no inference, one layout per shape; memory flat over loading and unloading.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::engine::{built, lean_program};
use sinter_cpu::Cpu;
use sinter_lean::client::LeanProgram;
use sinter_plan::{Bound, Sealed, SealedInput, SealedOutput, SealedVector, to_bytes};
use sinter_runtime::{Engine, EngineOptions, Observer, RuntimeError, StepValues};
use sinter_testkit::allocator::allocated_so_far;

use crate::models::{network_of, tensors};

/// Models without values of open sizes.
const MODELS: &[&str] = &["mnist8", "resnet-block", "rl-g1-policy", "fastestdet", "yunet-n-320", "bert-mini-dynamic"];

fn engine_of(name: &str, threads: usize) -> Option<Engine> {
    let network = network_of(&crate::shared("models")?.join(name)).expect("a model that imports");
    Some(Engine::from_plan(built(&network).expect("a plan"), &[&Cpu], threads).expect("an engine"))
}

/// Kernels that still take memory of their own when they are launched. The runtime takes none (its own tests prove it);
/// an entry that takes none any more fails the test.
const ALLOCATING: &[&str] = &["cpu.image.resize_nearest", "cpu.movement.pad", "cpu.norm.normalize", "cpu.pool.rows"];

/// Notes the steps that allocate.
struct Watch {
    tactics: Vec<String>,
    before: usize,
    allocating: BTreeSet<String>,
}

impl Observer for Watch {
    fn before(&mut self, _: usize) {
        self.before = allocated_so_far();
    }

    fn after(&mut self, position: usize, _: &StepValues<'_>) -> Result<(), RuntimeError> {
        if allocated_so_far() > self.before {
            self.allocating.insert(self.tactics[position].clone());
        }
        Ok(())
    }
}

#[test]
fn only_known_kernels_allocate_in_the_steady_state() {
    let mut allocating = BTreeSet::new();
    for name in MODELS {
        let Some(engine) = engine_of(name, 1) else { return };
        let inputs = crate::shared("models").expect("the models").join(name).join("inputs_0.npz");
        let given: Vec<(String, Value)> = tensors(&inputs)
            .expect("inputs")
            .into_iter()
            .map(|(input, tensor)| (input, Value::Tensor(tensor)))
            .collect();
        engine.run(given.clone()).expect("a run");
        let tactics = engine.plan().tactics().into_iter().map(str::to_owned).collect();
        let mut watch = Watch { tactics, before: 0, allocating: BTreeSet::new() };
        engine.run_observed(given, &mut watch).expect("a run");
        allocating.extend(watch.allocating);
    }
    let known: BTreeSet<String> = ALLOCATING.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(allocating, known);
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
        context.prepare(&bindings).expect("sizes");
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
    assert!(matches!(engine(&plan).self_test(), Err(RuntimeError::Unsealed)));
    let input =
        SealedInput::Uniform { data_type: DataType::F32, sizes: vec![1, 1, 28, 28], seed: 3, low: 0.0, high: 255.0 };
    let given = vec![(plan.inputs[0].name.clone(), Value::Tensor(input.tensor().expect("an input")))];
    let output = engine(&plan).run(given).expect("a run").remove(0);
    let output = output.as_tensor().expect("a tensor").clone();
    let seal = |tensor: &Tensor| {
        let bound = Bound::Within { absolute: 0.0, relative: 1e-4 };
        let outputs = vec![SealedOutput::of(tensor, bound).expect("numbers")];
        Some(Sealed { vectors: vec![SealedVector { inputs: vec![input.clone()], outputs }] })
    };
    plan.sealed = seal(&output);
    assert_eq!(engine(&plan).self_test().expect("agreement"), 1);
    let wrong: Vec<f64> = output.to_floats().iter().map(|v| v * 1.01).collect();
    plan.sealed = seal(&Tensor::from_floats(DataType::F32, output.sizes(), &wrong).expect("a tensor"));
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
