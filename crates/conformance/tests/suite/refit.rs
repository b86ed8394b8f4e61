//! Refit: a refittable plan with other weights is the plan that a build of the model with those weights gives.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_backend::Region;
use sinter_base::{DataType, Tensor};
use sinter_builder::{BuildOptions, RefitError, RefitProblem, Verify, build, refit, refittable_tensors};
use sinter_conformance::odd_networks;
use sinter_conformance::random::grown;
use sinter_cpu::Cpu;
use sinter_ir::{Network, WeightExpr};
use sinter_plan::{Plan, Trust, WeightId, from_bytes, to_bytes};
use sinter_testkit::Random;

use crate::confusion::{confuse, confused};
use crate::models::{network_of, onnx_models};
use crate::shared;

fn refittable(network: &Network) -> Option<Plan> {
    let options = BuildOptions { refittable: true, verify: Verify::Off, ..BuildOptions::default() };
    let plan = Plan { report: None, self_test: None, ..build(network, &Cpu, options).ok()?.plan };
    Some(from_bytes(to_bytes(&plan).into(), Trust::Nothing).expect("the reader accepts the plan"))
}

/// The network with a name of its own for every weight.
fn named(mut network: Network) -> Network {
    for (number, weight) in network.weights.iter_mut().enumerate() {
        if let WeightExpr::Source { name, .. } = Arc::make_mut(&mut weight.expr) {
            *name = format!("weight {number}").into();
        }
    }
    network
}

/// Elements of the same type: all equal, or random ones.
fn other(tensor: &Tensor, random: &mut Random) -> Tensor {
    let count = tensor.count();
    let numbers: Vec<f64> = match random.below(4) {
        0 => vec![1.0; count],
        1 => vec![0.0; count],
        _ => (0..count).map(|_| random.below(64) as f64 / 8.0 + 0.25).collect(),
    };
    match tensor.data_type() {
        ty if ty.is_float() => Tensor::from_floats(ty, tensor.sizes(), &numbers).expect("as many numbers"),
        ty => {
            let numbers: Vec<i128> = numbers.iter().map(|number| *number as i128 & 1).collect();
            Tensor::from_ints(ty, tensor.sizes(), &numbers).expect("numbers of one bit")
        }
    }
}

/// Replaces the weights of these names.
fn replaced(network: &Network, tensors: &HashMap<String, Tensor>) -> Network {
    let mut network = network.clone();
    for weight in &mut network.weights {
        let WeightExpr::Source { name, tensor, .. } = Arc::make_mut(&mut weight.expr) else { continue };
        if let Some(new) = tensors.get(&**name) {
            *tensor = new.clone();
            let is_known = network.body.ty(weight.value).as_tensor().is_some_and(|ty| ty.value.is_some());
            if is_known {
                network.body.set_type(weight.value, sinter_base::TensorType::of(new).into());
            }
        }
    }
    network
}

/// Where two plans differ.
fn difference(found: &Plan, expected: &Plan) -> String {
    if found.graph != expected.graph {
        return "other steps or values".to_owned();
    }
    let differ = found.weights.iter().zip(&expected.weights).filter(|(a, b)| a != b);
    let names: Vec<&str> = differ.map(|(weight, _)| weight.name.as_str()).collect();
    format!("{} and {} weights, others are {names:?}", found.weights.len(), expected.weights.len())
}

/// Refits all tensors of a network and compares with a build of the changed network; returns their number.
fn check(network: &Network, seed: u64) -> Result<usize, String> {
    let Some(plan) = refittable(network) else { return Ok(0) };
    let mut random = Random::of("refit", seed);
    let sources: HashMap<&str, &Tensor> = network
        .weights
        .iter()
        .filter_map(|weight| match &*weight.expr {
            WeightExpr::Source { name, tensor, .. } => Some((&**name, tensor)),
            WeightExpr::Apply { .. } => None,
        })
        .collect();
    let names: Vec<&str> = refittable_tensors(&plan).into_keys().collect();
    let tensors: HashMap<String, Tensor> =
        names.iter().map(|name| ((*name).to_owned(), other(sources[name], &mut random))).collect();
    let same: HashMap<String, Tensor> = names.iter().map(|name| ((*name).to_owned(), sources[name].clone())).collect();
    let most = u64::MAX;
    if !names.is_empty() {
        let again = refit(&plan, &same, &[&Cpu], most).map_err(|e| e.to_string())?;
        if again != plan {
            return Err("the model's own tensors give another plan".to_owned());
        }
        let expected = refittable(&replaced(network, &tensors)).ok_or("the changed network cannot be built")?;
        let found = refit(&plan, &tensors, &[&Cpu], most).map_err(|e| e.to_string())?;
        if found != expected {
            return Err(format!("other tensors give another plan than a build: {}", difference(&found, &expected)));
        }
    }
    Ok(names.len())
}

#[test]
fn refitted_plans_are_those_of_changed_networks() {
    let mut refitted = 0;
    let odd = odd_networks::networks().into_iter().map(named);
    for (seed, network) in (0..).zip(odd.chain((0..300).map(|seed| named(grown(seed).network)))) {
        refitted += check(&network, seed).unwrap_or_else(|e| panic!("{}: {e}\n{network}", network.name));
    }
    assert!(refitted > 300, "{refitted} tensors");
}

#[test]
fn shared_models_are_refitted() {
    let Some(folder) = shared("models") else { return };
    let mut refitted = 0;
    for (name, folder) in onnx_models(&folder) {
        let network = network_of(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        // Larger models take minutes and show nothing new.
        if network.weight_bytes() <= 4 << 20 {
            let count = check(&network, 7).unwrap_or_else(|e| panic!("{name}: {e}"));
            println!("{name}: {count} tensors");
            refitted += count;
        }
    }
    assert!(refitted > 100, "{refitted} tensors");
}

/// Changes an expression: its weight, its sources, or an operator of its body.
fn confuse_expression(plan: &mut Plan, random: &mut Random) {
    let (weights, count) = (plan.weights.len(), plan.expressions.len());
    let other = plan.expressions[random.below(count)].clone();
    let expression = &mut plan.expressions[random.below(count)];
    match random.below(5) {
        0 => expression.weight = WeightId::new(random.below(weights)),
        1 => expression.sources = other.sources,
        2 => expression.body = other.body,
        3 => expression.sources.reverse(),
        _ => {
            let changed = confused(&Region::new(expression.body.clone()), random);
            expression.body = changed.map_or_else(|| expression.body.clone(), |region| region.body().clone());
        }
    }
}

#[test]
fn hostile_plans_are_refitted_or_refused() {
    let odd =
        odd_networks::networks().into_iter().map(named).filter_map(|network| Some((refittable(&network)?, network)));
    let plans: Vec<(Plan, Network)> = odd.filter(|(plan, _)| !plan.expressions.is_empty()).collect();
    assert!(plans.len() > 20, "{} plans", plans.len());
    let (mut refused, mut refitted) = (0, 0);
    for seed in 0..2_000 {
        let mut random = Random::of("hostile refits", seed);
        let (plan, network) = &plans[random.below(plans.len())];
        let mut changed = plan.clone();
        confuse_expression(&mut changed, &mut random);
        if random.below(4) == 0 {
            confuse(&mut changed, &mut random);
        }
        let Ok(changed) = from_bytes(to_bytes(&changed).into(), Trust::Nothing) else {
            refused += 1;
            continue;
        };
        let known = refittable_tensors(&changed);
        let named = network.weights.iter().filter_map(|weight| match &*weight.expr {
            WeightExpr::Source { name, tensor, .. } if known.contains_key(&**name) => {
                Some((name.to_string(), tensor.clone()))
            }
            _ => None,
        });
        match refit(&changed, &named.collect(), &[&Cpu], 1 << 30) {
            Ok(again) => {
                refitted += 1;
                assert!(from_bytes(to_bytes(&again).into(), Trust::Nothing).is_ok(), "seed {seed}: no plan any more");
            }
            Err(_) => refused += 1,
        }
    }
    println!("{refused} refused, {refitted} refitted");
    assert!(refused > 100 && refitted > 100, "{refused} refused, {refitted} refitted");
}

#[test]
fn wrong_tensors_are_named_all_at_once() {
    let network = odd_networks::networks().into_iter().map(named).find(|network| network.weights.len() > 1);
    let network = network.expect("a network with weights");
    let plain = BuildOptions { verify: Verify::Off, ..BuildOptions::default() };
    let plain = build(&network, &Cpu, plain).expect("a plan").plan;
    assert_eq!(refit(&plain, &HashMap::new(), &[&Cpu], 1 << 30), Err(RefitError::NotRefittable));
    let plan = refittable(&network).expect("a plan");
    let (name, _) = refittable_tensors(&plan).into_iter().next().expect("a tensor");
    let number = Tensor::scalar(DataType::F64, 1.0);
    let given = HashMap::from([(name.to_owned(), number.clone()), ("nothing".to_owned(), number)]);
    let Err(RefitError::Tensors(problems)) = refit(&plan, &given, &[&Cpu], 1 << 30) else { panic!("no error") };
    let is_unknown = |problem: &RefitProblem| matches!(problem, RefitProblem::Unknown { name } if name == "nothing");
    assert!(problems.iter().any(is_unknown), "{problems:?}");
    assert!(problems.iter().any(|problem| matches!(problem, RefitProblem::Type { .. })), "{problems:?}");
}
