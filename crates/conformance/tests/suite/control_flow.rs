//! Weights that the bodies of control flow capture are their own: packed as any, and no operands of the step.

use std::collections::HashMap;

use sinter_base::{DataType, Location, Tensor, Value, ValueType};
use sinter_builder::{BuildOptions, build};
use sinter_conformance::engine::run_here;
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::control::{If, Loop};
use sinter_ops::matmul::MatMul;
use sinter_plan::{Action, Step, Storage};

fn weight(builder: &mut NetworkBuilder, name: &str, seed: usize) -> sinter_ir::Handle {
    let values = (0..19 * 19).map(|i| ((i * 7919 + seed) % 101) as f32 / 404.0 - 0.1).collect();
    builder.add_weight(name, Tensor::from_vec(&[19, 19], values).expect("a square"))
}

fn matrix() -> ValueType {
    ValueType::tensor(DataType::F32, vec![5i64.into(), 19i64.into()])
}

/// x w on one side of a condition, x w and then v on the other.
fn branches() -> Network {
    let mut builder = NetworkBuilder::new();
    let location = Location::default();
    let condition = builder.add_network_input("c", ValueType::tensor(DataType::Bool, vec![]), None);
    let x = builder.add_network_input("x", matrix(), None);
    let (w, v) = (weight(&mut builder, "w", 1), weight(&mut builder, "v", 2));
    let mut scope = |weights: &[sinter_ir::Handle]| {
        builder.open_scope();
        let mut y = x;
        for w in weights {
            y = builder.add(MatMul::default(), &[Some(y), Some(*w)], &location).expect("sizes fit")[0];
        }
        builder.close_scope(&[y])
    };
    let (then, otherwise) = (scope(&[w]), scope(&[w, v]));
    let captures = then.captures.iter().chain(&otherwise.captures).copied();
    let inputs: Vec<_> = std::iter::once(condition).chain(captures).map(Some).collect();
    let op = If { then_branch: then.body, else_branch: otherwise.body };
    let y = builder.add(op, &inputs, &location).expect("two branches")[0];
    builder.finish("branches", &[("y".to_owned(), y)])
}

/// x w w ... as often as n says.
fn powers() -> Network {
    let mut builder = NetworkBuilder::new();
    let location = Location::default();
    let count = builder.add_network_input("n", ValueType::tensor(DataType::I64, vec![]), None);
    let x = builder.add_network_input("x", matrix(), None);
    let w = weight(&mut builder, "w", 3);
    builder.open_scope();
    builder.add_scope_input(ValueType::tensor(DataType::I64, vec![]));
    let goes_on = builder.add_scope_input(ValueType::tensor(DataType::Bool, vec![]));
    let carried = builder.add_scope_input(matrix());
    let next = builder.add(MatMul::default(), &[Some(carried), Some(w)], &location).expect("sizes fit")[0];
    let body = builder.close_scope(&[goes_on, next]);
    let inputs: Vec<_> = [Some(count), None, Some(x)].into_iter().chain(body.captures.into_iter().map(Some)).collect();
    let y = builder.add(Loop { carried: 1, body: body.body }, &inputs, &location).expect("a loop")[0];
    builder.finish("powers", &[("y".to_owned(), y)])
}

fn check(network: &Network, inputs: &HashMap<String, Value>) {
    let built = build(network, &Cpu, BuildOptions::default()).expect("a plan");
    assert!(built.verification.dropped.is_empty(), "{:?}", built.verification.dropped);
    assert!(built.verification.unverified.is_empty(), "{:?}", built.verification.unverified);
    let plan = built.plan;
    for step in &plan.graph.steps {
        let is_weight =
            |id: &sinter_plan::PlanValueId| matches!(plan.graph.values[id.index()].storage, Storage::Weight(_));
        assert!(!step.inputs.iter().flatten().any(is_weight), "a weight is handed in");
        let Action::Control { graphs, .. } = &step.action else { continue };
        for graph in graphs {
            let packed = |step: &Step| step.launch().is_some_and(|launch| !launch.general.packed.is_empty());
            assert!(graph.steps.iter().all(packed), "a product without a packed weight");
        }
    }
    let names: Vec<&str> = plan.weights.iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(names.len(), network.weights.len(), "each weight once: {names:?}");
    let expected = run_with(network, inputs, &FastEvaluator).expect("the reference");
    let found = run_here(&plan, inputs).expect("an engine");
    for (found, expected) in found.iter().zip(&expected) {
        compare(found, expected, Tolerance { relative: 1e-4, absolute: 1e-5 }).expect("agreement");
    }
}

#[test]
fn captured_weights_are_packed() {
    let values = (0..5 * 19).map(|i| (i * 31 % 17) as f32 / 8.0 - 1.0).collect();
    let x = Value::Tensor(Tensor::from_vec(&[5, 19], values).expect("a matrix"));
    for truth in [0.0, 1.0] {
        let c = Value::Tensor(Tensor::scalar(DataType::Bool, truth));
        check(&branches(), &HashMap::from([("c".to_owned(), c), ("x".to_owned(), x.clone())]));
    }
    for count in [0.0, 1.0, 4.0] {
        let n = Value::Tensor(Tensor::scalar(DataType::I64, count));
        check(&powers(), &HashMap::from([("n".to_owned(), n), ("x".to_owned(), x.clone())]));
    }
}

/// The program that runs plans holds no operator's reference: nothing in it could fall back to one.
#[test]
fn the_lean_program_has_no_reference() {
    let program = sinter_conformance::engine::lean_program().expect("the lean program");
    let bytes = std::fs::read(program).expect("a program");
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("operator..Operator$GT$5infer"), "the program has no symbols to look at");
    assert!(!holds("operator..Operator$GT$9reference"), "an operator's reference is linked");
}
