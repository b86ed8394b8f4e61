//! Taps: every value of a network in a run of its engine, inner values of fused regions included.

use std::collections::HashMap;

use sinter_base::Value;
use sinter_builder::{BuildOptions, TapSource, Verify, build, run_tapped};
use sinter_conformance::odd_networks;
use sinter_conformance::random::grown;
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::inputs::{FreeSizes, generate};
use sinter_interp::{FastEvaluator, Tolerance, compare, run_observed};
use sinter_ir::Network;
use sinter_ops::{EvalContext, ValueId};
use sinter_runtime::{Engine, EngineOptions};

use crate::models::{network_of, onnx_models, tensors};
use crate::shared;

/// Sums in other orders, in networks that may be unstable.
const TOLERANCE: Tolerance = Tolerance { relative: 1e-2, absolute: 1e-3 };

/// Taps a run and compares all values with the reference executor's; returns how many there are between steps and inside.
fn check(network: &Network, inputs: &HashMap<String, Value>, has_island: bool) -> Result<(usize, usize), String> {
    let fake = Fake::default();
    let options = BuildOptions { verify: Verify::Off, ..BuildOptions::default() };
    let built = match has_island {
        true => build(network, &fake, BuildOptions { island: Some(&Cpu), ..options }),
        false => build(network, &Cpu, options),
    };
    let Ok(built) = built else { return Ok((0, 0)) };
    let engine =
        Engine::load(built.plan.clone(), &[&fake, &Cpu], &EngineOptions::default()).map_err(|e| e.to_string())?;
    let given: Vec<(String, Value)> = inputs.clone().into_iter().collect();
    let plain = engine.run(given.clone()).map_err(|e| e.to_string())?;
    let mut expected: HashMap<ValueId, Value> = HashMap::new();
    let nodes = built.network.body.nodes();
    let mut observe = |at: usize, results: &[Value]| {
        expected.extend(nodes[at].outputs.iter().copied().zip(results.iter().cloned()));
    };
    run_observed(&built.network, inputs, &EvalContext::new(&FastEvaluator), &mut observe).map_err(|e| e.to_string())?;
    let (mut between, mut inside, mut wrong) = (0, 0, None);
    let ends: (&dyn sinter_backend::BackEnd, Option<&dyn sinter_backend::BackEnd>) =
        if has_island { (&fake, Some(&Cpu)) } else { (&Cpu, None) };
    let tapped = run_tapped(&engine, &built.network, ends, &given, &mut |tap| {
        match tap.source {
            TapSource::Step(_) => between += 1,
            TapSource::Inside(_) => inside += 1,
            TapSource::Sizes => {}
        }
        let agreed = expected.remove(&tap.id).ok_or("the reference executor has no such value".to_owned());
        let agreed = agreed.and_then(|known| compare(tap.value, &known, TOLERANCE).map_err(|e| e.to_string()));
        if let Err(reason) = agreed {
            let found = format!("{} at {} ({:?}): {reason}", nodes[tap.node].op.name(), tap.id, tap.source);
            wrong.get_or_insert(found);
        }
    });
    if tapped.map_err(|e| e.to_string())? != plain {
        return Err("other outputs than without taps".to_owned());
    }
    wrong.map_or(Ok((between, inside)), Err)
}

#[test]
fn every_value_of_a_run_is_shown() {
    let (mut between, mut inside) = (0, 0);
    for network in odd_networks::networks() {
        let Ok(inputs) = generate(&network, FreeSizes::all(4)) else { continue };
        for has_island in [false, true] {
            let found =
                check(&network, &inputs, has_island).unwrap_or_else(|e| panic!("{}: {e}\n{network}", network.name));
            (between, inside) = (between + found.0, inside + found.1);
        }
    }
    println!("{between} values between steps, {inside} inside");
    assert!(between > 200 && inside > 10, "{between} values between steps, {inside} inside");
}

#[test]
fn random_networks_are_tapped() {
    let (mut between, mut inside) = (0, 0);
    for seed in 0..150 {
        let problem = grown(seed);
        let found = check(&problem.network, &problem.sets[0], seed % 3 == 0);
        let found = found.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{problem}"));
        (between, inside) = (between + found.0, inside + found.1);
    }
    assert!(between > 1000 && inside > 0, "{between} values between steps, {inside} inside");
}

#[test]
fn shared_models_are_tapped() {
    let Some(folder) = shared("models") else { return };
    let (mut between, mut inside) = (0, 0);
    for (name, folder) in onnx_models(&folder) {
        let network = network_of(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        let is_exact = !["qdq", "qoperator", "int8", "quant", "fp16"].iter().any(|word| name.contains(word));
        if network.weight_bytes() <= 4 << 20 && is_exact {
            let inputs = tensors(&folder.join("inputs_0.npz")).unwrap_or_else(|e| panic!("{name}: {e}"));
            let inputs = inputs.into_iter().map(|(name, tensor)| (name, tensor.into())).collect();
            let found = check(&network, &inputs, false).unwrap_or_else(|e| panic!("{name}: {e}"));
            println!("{name}: {} values between steps, {} inside", found.0, found.1);
            (between, inside) = (between + found.0, inside + found.1);
        }
    }
    assert!(between > 500 && inside > 100, "{between} values between steps, {inside} inside");
}
