//! Damaged and hostile plans, and full builds of damaged models: an error or a result, never a panic.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use sinter_base::{DataType, Dim, Location, Tensor, TensorType, Value};
use sinter_conformance::engine::{built, run_here};
use sinter_conformance::fuzz::{build_onnx, read_plan};
use sinter_conformance::onnx_cases::{Case, cases};
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::Op;
use sinter_ops::movement::{Expand, Shape};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_plan::{Action, Plan, Trust, from_bytes, to_bytes};
use sinter_testkit::Random;

/// One test case of so many gives a plan to be mutated.
const ONE_CASE_OF: usize = 12;

const BYTE_MUTATIONS: usize = 2_000;
const BUILDS: usize = 200;

pub(crate) fn folders() -> Option<Vec<PathBuf>> {
    let data = crate::onnx_data()?;
    Some(cases(&data, "node").expect("the node tests"))
}

/// Plans of small models without control flow.
pub(crate) fn corpus() -> Option<Vec<Plan>> {
    let folders = folders()?;
    let plans = folders.iter().step_by(ONE_CASE_OF).filter_map(|folder| {
        let plan = built(&Case::load(folder).ok()?.network).ok()?;
        let weights: usize = plan.weights.iter().map(|w| w.tensor().bytes().len()).sum();
        let loops = plan.graph.steps.iter().any(|step| matches!(step.action, Action::Control { .. }));
        (weights < 100_000 && !loops).then_some(plan)
    });
    Some(plans.collect())
}

fn survive(what: &str, bytes: Vec<u8>, body: fn(Bytes) -> bool) -> bool {
    let kept = Bytes::from(bytes);
    let given = kept.clone();
    match catch_unwind(AssertUnwindSafe(|| body(given))) {
        Ok(read) => read,
        Err(_) => {
            let path = std::env::temp_dir().join("sinter-hostile-plan");
            let _ = std::fs::write(&path, kept);
            panic!("{what}: a panic; the file is {}", path.display());
        }
    }
}

#[test]
fn damaged_plan_bytes_never_panic() {
    let Some(plans) = corpus() else { return };
    for plan in &plans {
        let read = from_bytes(to_bytes(plan).into(), Trust::Nothing).expect("a plan that was just made");
        assert!(read == *plan, "{plan:#?}\n is read as \n{read:#?}");
    }
    let mut random = Random(11);
    for round in 0..BYTE_MUTATIONS {
        let plan = &plans[random.below(plans.len())];
        let mut bytes = to_bytes(plan);
        for _ in 0..=random.below(3) {
            crate::hostile::mutate(&mut bytes, &mut random);
            if bytes.is_empty() {
                break;
            }
        }
        if survive(&format!("round {round}"), bytes.clone(), read_plan) {
            // Padding belongs to no section; anything else is noticed by a hash.
            let read = from_bytes(bytes.into(), Trust::Nothing).expect("it was read before");
            assert!(read == *plan, "round {round}: another plan was read");
        }
    }
}

#[test]
fn damaged_models_never_panic_in_a_build() {
    let Some(folders) = folders() else { return };
    let mut random = Random(17);
    let mut plans = 0;
    for round in 0..BUILDS {
        let folder = &folders[random.below(folders.len())];
        let mut bytes = std::fs::read(folder.join("model.onnx")).expect("a model");
        if bytes.len() < 20_000 {
            crate::hostile::mutate(&mut bytes, &mut random);
        }
        plans += usize::from(survive(&format!("round {round}, {}", folder.display()), bytes, build_onnx));
    }
    println!("{plans} of {BUILDS} damaged models became plans");
    assert!(plans > BUILDS / 10, "only {plans} of {BUILDS} got to the end");
}

/// The size N of the input, then u = u^2 + N, divided by 97 or not, again and again from u = N; as many ones as u says,
/// at most 7.
fn squares(rounds: usize, divides: bool) -> Network {
    let mut builder = NetworkBuilder::default();
    let x = TensorType::ranked(DataType::F32, vec![Dim::symbol("N"), 3i64.into()]);
    let x = builder.add_network_input("x", x.into(), None);
    let one = builder.constant(Tensor::from_floats(DataType::F32, &[1], &[1.0]).expect("one number"));
    let mut add = |op: Op, inputs: &[_]| {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        builder.add(op, &inputs, &Location::default()).expect("operands that fit")[0]
    };
    let formula =
        |expr: &Expr| Op::from(Expr::into_pointwise(std::slice::from_ref(expr)).expect("a formula that types"));
    let [u, n] = [0, 1].map(|index| Expr::input(index, DataType::I64));
    let round = &(&u * &u) + &n;
    let round = if divides { round.binary(ScalarOp::Div, &round.same(97.0)) } else { round };
    let size = add(Shape { start: 0, end: Some(1) }.into(), &[x]);
    let last = (0..rounds).fold(size, |u, _| add(formula(&round), &[u, size]));
    let count = u.binary(ScalarOp::Min, &u.same(7.0)).binary(ScalarOp::Max, &u.same(0.0));
    let count = add(formula(&count), &[last]);
    let y = add(Expand {}.into(), &[one, count]);
    builder.finish("squares", &[("y".to_owned(), y)])
}

#[test]
fn squares_of_sizes_make_small_plans() {
    for (rounds, divides) in [(1, false), (3, true), (8, false), (12, true), (40, false), (60, true), (300, true)] {
        let plan = built(&squares(rounds, divides)).expect("a plan");
        let bytes = to_bytes(&plan).len();
        assert!(bytes < 100_000 + 2_000 * rounds, "{bytes} bytes after {rounds} rounds");
        for n in [0i64, 1, 2, 5, 30] {
            let x = Tensor::from_floats(DataType::F32, &[n as usize, 3], &vec![0.5; 3 * n as usize]).unwrap();
            let found = run_here(&plan, &HashMap::from([("x".to_owned(), Value::Tensor(x))]));
            let round = |u: i64| u.wrapping_mul(u).wrapping_add(n) / if divides { 97 } else { 1 };
            let last = (0..rounds).fold(n, |u, _| round(u)).clamp(0, 7);
            let expected = Tensor::from_floats(DataType::F32, &[last as usize], &vec![1.0; last as usize]).unwrap();
            assert_eq!(found, Ok(vec![Value::Tensor(expected)]), "{rounds} rounds at {n}");
        }
    }
}
