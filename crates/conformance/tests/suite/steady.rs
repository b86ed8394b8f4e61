//! The steady state: no allocation, no inference, one layout per shape; memory flat over loading and unloading.

use std::time::Instant;

use bytes::Bytes;
use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::engine::{built, lean_program};
use sinter_cpu::Cpu;
use sinter_lean::client::LeanProgram;
use sinter_plan::{Bound, Sealed, SealedInput, SealedOutput, SealedVector, to_bytes};
use sinter_runtime::{Engine, EngineOptions, RuntimeError};
use sinter_testkit::allocator::allocations;

use crate::models::{network_of, tensors};

/// Models without values of open sizes.
const MODELS: &[&str] = &["mnist8", "resnet-block", "rl-g1-policy", "fastestdet", "yunet-n-320", "bert-mini-dynamic"];

fn engine_of(name: &str, threads: usize) -> Option<Engine> {
    let network = network_of(&crate::shared("models")?.join(name)).expect("a model that imports");
    Some(Engine::from_plan(built(&network).expect("a plan"), &[&Cpu], threads).expect("an engine"))
}

#[test]
fn a_second_run_allocates_nothing() {
    let mut wrong = Vec::new();
    for name in MODELS {
        let Some(engine) = engine_of(name, 1) else { return };
        let inputs = crate::shared("models").expect("the models").join(name).join("inputs_0.npz");
        let mut context = engine.context();
        let mut bindings = context.bindings();
        for (input, tensor) in tensors(&inputs).expect("inputs") {
            bindings.set(&input, Value::Tensor(tensor)).expect("an input");
        }
        let mut run = || context.run_into(&mut bindings).expect("a run");
        run();
        run();
        let count = allocations(run);
        println!("{name}: {count} allocations in {} steps", engine.plan().graph.steps.len());
        if count > 0 {
            wrong.push(format!("{name}: {count} allocations"));
        }
        assert_eq!(context.counters().layouts, 1, "{name}");
        assert_eq!(context.counters().inferences, 0, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    // Sizes seen before: the arena is large enough, so nothing is allocated for them either.
    let again =
        |batch: usize, tokens: usize| Tensor::from_vec(&[batch, tokens], vec![1i64; batch * tokens]).expect("tokens");
    for (batch, tokens) in [(2, 3), (5, 17), (2, 3)] {
        for name in &names {
            bindings.set(name, again(batch, tokens).into()).expect("an input");
        }
        let count = allocations(|| context.run_into(&mut bindings).expect("a run"));
        assert_eq!(count, 0, "{batch} x {tokens}");
    }
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
        Err(RuntimeError::Memory { allowed: 0x10_0000, .. } | RuntimeError::Step { .. })
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
    let full = std::env::var_os("SINTER_FULL").is_some();
    let rounds = if full { 1000 } else { 200 };
    let mut before = 0;
    for round in 0..rounds {
        lean.run(bytes.clone(), 2, inputs.clone()).expect("a run");
        if round == rounds / 2 {
            let Some(pages) = resident_pages(lean.id()) else { return };
            before = pages;
        }
    }
    let Some(after) = resident_pages(lean.id()) else { return };
    println!("{before} pages after {} cycles, {after} after {rounds}", rounds / 2);
    assert!(after * 100 <= before * 101, "resident memory grew from {before} to {after} pages");
}
