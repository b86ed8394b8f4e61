//! Profiles of sizes: one plan with kernels that are best for batches of one, and others for large ones.

use std::collections::BTreeMap;

use sinter_backend::BackEnd;
use sinter_base::Tensor;
use sinter_builder::{BuildError, BuildOptions, SizeHint, SizeHints, build};
use sinter_cpu::Cpu;
use sinter_ir::Network;
use sinter_ops::matmul::MatMul;
use sinter_ops::pointwise::ScalarOp;
use sinter_plan::{Launch, Plan, Trust, from_bytes, to_bytes};
use sinter_runtime::{Engine, RuntimeError};

use crate::devices::{agree, inputs_at};
use crate::parts::Maker;

/// A batch of vectors through two products.
pub(crate) fn products() -> Network {
    let mut maker = Maker::default();
    let x = maker.batched(&[192]);
    let mut product = |x, rows: usize, columns: usize| {
        let numbers = (0..rows * columns).map(|at| ((at * 7919) % 101) as f32 / 1000.0 - 0.05).collect();
        let weight = Tensor::from_vec(&[rows, columns], numbers).expect("a weight");
        let weight = maker.builder.add_weight("w", weight);
        let product = maker.op(MatMul::default(), &[x, weight]);
        maker.unary(product, ScalarOp::Tanh)
    };
    let hidden = product(x, 192, 320);
    let result = product(hidden, 320, 96);
    maker.finish(&[result])
}

fn profile(min: i64, opt: i64, max: i64) -> SizeHints {
    let hint = SizeHint { min: Some(min), opt: Some(opt), max: Some(max) };
    SizeHints(BTreeMap::from([("N".to_owned(), hint)]))
}

fn built(sizes: SizeHints, profiles: Vec<SizeHints>) -> Plan {
    let options = BuildOptions { sizes, profiles, ..BuildOptions::default() };
    let built = build(&products(), &Cpu, options).expect("a plan");
    assert!(built.verification.dropped.is_empty() && built.verification.unverified.is_empty());
    from_bytes(to_bytes(&built.plan).into(), Trust::Nothing).expect("a plan that reads back")
}

fn launches(plan: &Plan) -> Vec<&Launch> {
    plan.graph.steps.iter().filter_map(|step| step.launch()).collect()
}

#[test]
fn a_plan_has_kernels_for_each_profile() {
    let both = built(profile(1, 1, 1), vec![profile(200, 300, 400)]);
    let [small, large] = [profile(1, 1, 1), profile(200, 300, 400)].map(|sizes| built(sizes, Vec::new()));
    let recipes = |plan: &Plan| launches(plan).iter().map(|l| l.general.recipe.clone()).collect::<Vec<_>>();
    assert_ne!(recipes(&small), recipes(&large), "the network is chosen so");
    assert_eq!(recipes(&both), recipes(&small), "the first profile has the kernels for all sizes");
    let special = |launch: &&Launch| launch.special.first().unwrap_or(&launch.general).recipe.clone();
    assert_eq!(launches(&both).iter().map(special).collect::<Vec<_>>(), recipes(&large), "the second has its own");
    let bytes = |plan: &Plan| to_bytes(plan).len();
    assert!(bytes(&both) < bytes(&small) + bytes(&large), "weights that are packed alike are stored once");
    let network = products();
    let engine = Engine::from_plan(both, &[&Cpu as &dyn BackEnd], 2).expect("an engine");
    for size in [1, 300, 5, 200, 400, 199, 1] {
        let inputs = inputs_at(&network, size);
        agree(&network, &inputs, &engine.run(inputs.clone()).expect("a run"));
    }
    let refused = engine.run(inputs_at(&network, 401)).expect_err("401 is beyond all profiles");
    assert!(matches!(refused, RuntimeError::Range { .. }), "{refused}");
}

/// The kernels of a profile run: spoiled ones show at its sizes, and at no others.
#[test]
fn sizes_decide_which_kernel_runs() {
    let mut plan = built(profile(1, 1, 1), vec![profile(200, 300, 400)]);
    let network = products();
    let is_special = |launch: &&mut Launch| !launch.special.is_empty();
    let launch = plan.graph.steps.iter_mut().filter_map(|step| step.launch_mut()).find(is_special);
    let launch = launch.expect("a step with kernels for some sizes");
    // A weight of zeros in the place of the packed one of the second profile.
    let at = *launch.special[0].packed.first().expect("a packed weight");
    let replaced = launch.special[0].replaced.iter_mut().find(|(operand, _)| *operand == at).map(|(_, id)| *id);
    let Some(id) = replaced else { return };
    let sinter_plan::Storage::Weight(weight) = plan.graph.values[id.index()].storage else { panic!("a weight") };
    let tensor = plan.weights[weight.index()].tensor();
    let zeros = Tensor::from_floats(tensor.data_type(), tensor.sizes(), &vec![0.0; tensor.count()]).expect("zeros");
    plan.weights[weight.index()] = sinter_plan::PlanWeight::new("zeros".to_owned(), zeros);
    let engine = Engine::from_plan(plan, &[&Cpu as &dyn BackEnd], 2).expect("an engine");
    let ran = |size: i64| engine.run(inputs_at(&network, size)).expect("a run").remove(0);
    let is_zero = |size: i64| ran(size).as_tensor().expect("a tensor").to_floats().iter().all(|v| *v == 0.0);
    assert_eq!([1, 199, 200, 300, 400].map(is_zero), [false, false, true, true, true]);
}

#[test]
fn profiles_say_what_they_are_for() {
    let options = || BuildOptions { sizes: profile(1, 1, 1), ..BuildOptions::default() };
    let open = BuildOptions { profiles: vec![SizeHints::default()], ..options() };
    assert!(matches!(build(&products(), &Cpu, open), Err(BuildError::Profile { index: 1 })));
    // An optimum alone is a size.
    let hint = SizeHint { opt: Some(16), ..SizeHint::default() };
    let point = SizeHints(BTreeMap::from([("N".to_owned(), hint)]));
    let plan = built(profile(1, 1, 1), vec![point]);
    let ranges = plan.ranges();
    assert_eq!((ranges[0].low, ranges[0].high), (1, 16));
    let unknown = SizeHints(BTreeMap::from([("S".to_owned(), hint)]));
    let unknown = BuildOptions { profiles: vec![unknown], ..options() };
    assert!(matches!(build(&products(), &Cpu, unknown), Err(BuildError::UnknownSize { .. })));
}
