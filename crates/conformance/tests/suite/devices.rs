//! Networks on every back end through the whole path: built with verification, saved, opened, run, and compared with
//! the reference executor; and the limits of a run in the steady state.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use sinter_backend::BackEnd;
use sinter_base::{HostMemory, Value};
use sinter_builder::{BuildError, BuildOptions, Verify, build};
use sinter_conformance::kernels::gpu;
use sinter_conformance::odd_networks;
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::inputs::generate_at;
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::Network;
use sinter_plan::{Plan, Trust, from_bytes, to_bytes};
use sinter_runtime::{Engine, Profile};

/// Threads of all engines here.
const THREADS: usize = 2;
/// Tolerance for sums in other orders, in networks that may be unstable.
const TOLERANCE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-4 };

/// The networks that a back end has kernels for, as plans.
pub(crate) fn plans(back_end: &dyn BackEnd, verify: &Verify) -> Vec<(Network, Plan)> {
    let mut plans = Vec::new();
    for network in odd_networks::networks() {
        let options = BuildOptions { threads: THREADS, verify: verify.clone(), ..BuildOptions::default() };
        match build(&network, back_end, options) {
            Err(BuildError::Unsupported(_)) => {}
            Err(error) => panic!("'{}' on {}: {error}", network.name, back_end.name()),
            Ok(built) => {
                let dropped: Vec<_> = built.verification.dropped.iter().map(|dropped| &dropped.reason).collect();
                assert!(dropped.is_empty(), "'{}' on {}: {dropped:?}", network.name, back_end.name());
                let plan = from_bytes(to_bytes(&built.plan).into(), Trust::Nothing).expect("a plan that reads back");
                plans.push((network, plan));
            }
        }
    }
    plans
}

/// Inputs of a network with these dynamic dimensions, followed by ones.
pub(crate) fn inputs_at(network: &Network, size: i64) -> Vec<(String, Value)> {
    let apart = Mutex::new(HashMap::new());
    let size_of = |name: &str| {
        let mut known = apart.lock().expect("no panic in between");
        let next = size + i64::try_from(known.len()).unwrap_or(0);
        *known.entry(name.to_owned()).or_insert(next)
    };
    generate_at(network, &size_of).expect("inputs").into_iter().collect()
}

pub(crate) fn agree(network: &Network, inputs: &[(String, Value)], found: &[Value]) {
    let given = inputs.iter().cloned().collect();
    let expected = run_with(network, &given, &FastEvaluator).expect("the judge runs");
    for (found, expected) in found.iter().zip(&expected) {
        if let Err(difference) = compare(found, expected, TOLERANCE) {
            panic!("'{}': {difference}", network.name);
        }
    }
}

/// Builds, saves, opens and runs, at two sizes and in turns; the second run of a size gives the same results as the
/// first.
fn the_whole_path(back_end: &dyn BackEnd) -> usize {
    let plans = plans(back_end, &Verify::Generated);
    for (network, plan) in &plans {
        let engine = Engine::from_plan(plan.clone(), &[back_end], THREADS).expect("an engine");
        let mut first = Vec::new();
        for round in 0..2 {
            for (which, size) in [5, 3].into_iter().enumerate() {
                let inputs = inputs_at(network, size);
                let found = engine.run(inputs.clone()).unwrap_or_else(|e| panic!("'{}': {e}", network.name));
                if round == 0 {
                    agree(network, &inputs, &found);
                    first.push(found);
                } else {
                    assert!(first[which] == found, "'{}': another result of the same inputs", network.name);
                }
            }
        }
    }
    plans.len()
}

#[test]
fn networks_on_the_processor() {
    assert!(the_whole_path(&Cpu) > 80);
}

#[test]
fn networks_on_the_fake_device() {
    let fake = Fake::default();
    let count = the_whole_path(&fake);
    println!("{count} networks");
    assert!(count > 30, "only {count} networks have kernels there");
    assert_eq!(fake.account().used(), 0, "memory is lost");
}

#[test]
fn networks_on_the_gpu() {
    let Some(gpu) = gpu() else { return };
    let count = the_whole_path(&gpu);
    println!("{count} networks");
    assert!(count > 0, "no network has kernels there");
}

/// The same sizes again need no layout, and the device no more memory.
fn the_steady_state(back_end: &dyn BackEnd, used: &dyn Fn() -> usize) {
    for (network, plan) in plans(back_end, &Verify::Off) {
        let engine = Engine::from_plan(plan, &[back_end], THREADS).expect("an engine");
        let mut context = engine.context();
        let mut bindings = context.bindings();
        for (name, value) in inputs_at(&network, 4) {
            bindings.set(&name, value).expect("an input");
        }
        let mut run = || context.run_into(&mut bindings).map(|()| (context.counters(), used())).expect("a run");
        let (first, taken) = run();
        assert_eq!(first.layouts, 1, "'{}'", network.name);
        for _ in 0..3 {
            let (counters, still) = run();
            assert_eq!((counters.layouts, still), (1, taken), "'{}'", network.name);
        }
    }
}

/// The fake device's clock counts launches, so that the time of its work does not vary.
#[test]
fn a_timed_run_takes_the_time_of_the_devices_work() {
    let fake = Fake::default();
    let mut launched = 0;
    for (network, plan) in plans(&fake, &Verify::Off) {
        let engine = Engine::from_plan(plan, &[&fake], THREADS).expect("an engine");
        let mut context = engine.context();
        let mut bindings = context.bindings();
        for (name, value) in inputs_at(&network, 3) {
            bindings.set(&name, value).expect("an input");
        }
        let mut run = || context.run_timed(&mut bindings).expect("a run");
        // The first run also records the launches.
        let (_, second, third) = (run(), run(), run());
        assert_eq!(second, third, "'{}'", network.name);
        let mut profile = Profile::on_device(&engine);
        engine.run_observed(inputs_at(&network, 3), &mut profile).expect("a run");
        assert_eq!(profile.mean_times().sum::<Duration>(), third, "'{}'", network.name);
        launched += usize::from(!third.is_zero());
    }
    assert!(launched > 30, "only {launched} networks launch something there");
}

#[test]
fn the_steady_state_of_the_processor() {
    the_steady_state(&Cpu, &|| 0);
}

#[test]
fn the_steady_state_of_the_fake_device() {
    let fake = Fake::default();
    the_steady_state(&fake, &|| fake.account().used());
}

#[test]
fn the_steady_state_of_the_gpu() {
    let Some(gpu) = gpu() else { return };
    the_steady_state(&gpu, &|| 0);
}

/// A device with this ability records runs of steps once per layout, and replays them.
#[test]
fn segments_are_recorded_once_per_layout() {
    let fake = Fake::default();
    let mut recorded = 0;
    for (network, plan) in plans(&fake, &Verify::Off) {
        let engine = Engine::from_plan(plan, &[&fake as &dyn BackEnd], 1).expect("an engine");
        let mut context = engine.context();
        let mut bindings = context.bindings();
        let mut run = |size: i64| {
            let inputs = inputs_at(&network, size);
            for (name, value) in &inputs {
                bindings.set(name, value.clone()).expect("an input");
            }
            let before = fake.captures();
            context.run_into(&mut bindings).expect("a run");
            agree(&network, &inputs, &bindings.to_values().expect("outputs"));
            let after = fake.captures();
            (after.0 - before.0, after.1 - before.1)
        };
        let (new, done) = run(5);
        assert_eq!(new, done, "'{}': what is recorded is done", network.name);
        assert_eq!(run(5), (0, done), "'{}': the same sizes again", network.name);
        let (smaller, _) = run(3);
        assert!(smaller == 0 || smaller == new, "'{}': {smaller} for other sizes", network.name);
        assert_eq!(run(5), (0, done), "'{}': sizes of an earlier run", network.name);
        // More layouts than are kept.
        (6..30).for_each(|size| _ = run(size));
        recorded += new;
    }
    println!("{recorded} segments");
    assert!(recorded > 20, "only {recorded} segments");
}

/// Memory of a caller.
struct Array(Vec<f32>);

impl HostMemory for Array {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Inputs and outputs in memory of the caller, which comes back with the results in it.
fn memory_of_the_caller(back_end: &dyn BackEnd) {
    let all = odd_networks::networks();
    let network = all.iter().find(|network| network.name == "product-batch").expect("a network");
    let options = BuildOptions { threads: THREADS, ..BuildOptions::default() };
    let plan = build(network, back_end, options).expect("a plan").plan;
    let engine = Engine::from_plan(plan, &[back_end], THREADS).expect("an engine");
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let (rows, inputs) = (3, inputs_at(network, 3));
    let Value::Tensor(x) = &inputs[0].1 else { panic!("a tensor") };
    let (name, port) = (inputs[0].0.as_str(), engine.output_names().next().expect("an output").to_owned());
    let x: Vec<f32> = x.to_floats().iter().map(|v| *v as f32).collect();
    let y = vec![f32::NAN; rows * 149 + 7];
    let places = (x.as_ptr().addr(), y.as_ptr().addr());
    bindings.bind_input(name, &[rows, 53], Box::new(Array(x))).expect("memory that fits");
    bindings.bind_output(&port, Box::new(Array(y))).expect("memory that fits");
    for _ in 0..2 {
        context.run_into(&mut bindings).expect("a run");
    }
    agree(network, &inputs, &bindings.to_values().expect("outputs"));
    let (x, y) = (bindings.take_input(name).expect("memory"), bindings.take_output(&port).expect("memory"));
    assert_eq!((x.bytes().as_ptr().addr(), y.bytes().as_ptr().addr()), places, "the caller's memory came back");
    let y: &[f32] = bytemuck::cast_slice(y.bytes());
    assert!(y[..rows * 149].iter().all(|v| v.is_finite()) && y[rows * 149..].iter().all(|v| v.is_nan()));
    bindings.bind_output(&port, Box::new(Array(vec![0.0; 5]))).expect("it shows when the output is made");
    bindings.bind_input(name, &[rows, 53], x).expect("memory that fits");
    let error = context.run_into(&mut bindings).expect_err("too small").to_string();
    assert!(error.contains(&port) && error.contains("20 bytes") && error.contains("1788"), "{error}");
    assert!(bindings.take_output(&port).is_some(), "an error costs no memory of the caller");
    context.run_into(&mut bindings).expect("the context is as good as before");
}

#[test]
fn memory_of_the_caller_on_the_processor() {
    memory_of_the_caller(&Cpu);
}

#[test]
fn memory_of_the_caller_on_the_fake_device() {
    memory_of_the_caller(&Fake::default());
}

#[test]
fn memory_of_the_caller_on_the_gpu() {
    let Some(gpu) = gpu() else { return };
    memory_of_the_caller(&gpu);
}
