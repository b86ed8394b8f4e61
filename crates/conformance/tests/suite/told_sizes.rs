//! Sizes that kernels tell: a `Sync` step reads them, and later steps have buffers in the arena and infer nothing.

use std::collections::HashMap;

use sinter_backend::BackEnd;
use sinter_base::{DataType, Dim, Tensor, Value, ValueType};
use sinter_builder::{BuildOptions, Verify, build};

use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::{Handle, Network};
use sinter_ops::control::If;
use sinter_ops::index::{GatherNd, NonZero};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::reduce::Softmax;
use sinter_plan::{Action, Plan, Storage, Trust, from_bytes, to_bytes};
use sinter_runtime::{Engine, EngineOptions};
use sinter_testkit::Random;

use crate::parts::Maker;

const TOLERANCE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-4 };

struct Selection {
    maker: Maker,
}

impl Selection {
    fn new() -> (Self, Handle, Handle) {
        let mut maker = Maker::default();
        let n = Dim::symbol("N");
        let mask = ValueType::tensor(DataType::Bool, vec![n.clone()]);
        let mask = maker.builder.add_network_input("mask", mask, None);
        let x = ValueType::tensor(DataType::F32, vec![n, Dim::constant(12)]);
        let x = maker.builder.add_network_input("x", x, None);
        (Self { maker }, mask, x)
    }

    fn weight(&mut self, sizes: &[usize]) -> Handle {
        let count = i64::try_from(sizes.iter().product::<usize>()).expect("few elements");
        let numbers = (0..count).map(|at| ((at * 37 % 23) - 11) as f32 / 16.0).collect();
        self.maker.builder.add_weight("w", Tensor::from_vec(sizes, numbers).expect("as many numbers"))
    }

    fn product(&mut self, a: Handle, b: Handle, transpose_b: bool) -> Handle {
        self.maker.op(MatMul { transpose_a: false, transpose_b }, &[a, b])
    }

    /// The rows of x that the mask selects.
    fn select(&mut self, mask: Handle, x: Handle) -> Handle {
        let places = self.maker.op(NonZero {}, &[mask]);
        let places = self.maker.op(Transpose { permutation: Some(vec![1, 0]) }, &[places]);
        self.maker.op(GatherNd { batch_dims: 0 }, &[x, places])
    }

    /// Products and a softmax of the rows with each other.
    fn mix(&mut self, rows: Handle) -> Handle {
        let weight = self.weight(&[12, 33]);
        let wide = self.product(rows, weight, false);
        let wide = self.maker.unary(wide, ScalarOp::Tanh);
        let turned = self.product(wide, wide, true);
        let soft = self.maker.op(Softmax { axis: -1, log: false }, &[turned]);
        let again = self.product(soft, wide, false);
        let back = self.weight(&[33, 12]);
        self.product(again, back, false)
    }
}

fn selected() -> Network {
    let (mut selection, mask, x) = Selection::new();
    let rows = selection.select(mask, x);
    let mixed = selection.mix(rows);
    let result = selection.maker.unary(mixed, ScalarOp::Abs);
    selection.maker.finish(&[result])
}

/// Selects again from the result of a selection: two stages. Concatenations and slices of both.
fn selected_twice() -> Network {
    let (mut selection, mask, x) = Selection::new();
    let rows = selection.select(mask, x);
    let mixed = selection.mix(rows);
    let both = selection.maker.concat(0, &[mixed, rows]);
    let part = selection.maker.slice(both, 1, 2, 9);
    let part = selection.maker.unary(part, ScalarOp::Tanh);
    let column = selection.maker.slice(mixed, 1, 0, 1);
    let positive = Expr::input(0, DataType::F32).binary(ScalarOp::Less, &Expr::constant(DataType::F32, 0.0));
    let positive = selection.maker.op(Expr::into_pointwise(&[positive]).expect("a program"), &[column]);
    let places = selection.maker.op(NonZero {}, &[positive]);
    let places = selection.maker.op(Transpose { permutation: Some(vec![1, 0]) }, &[places]);
    let chosen = selection.maker.op(GatherNd { batch_dims: 0 }, &[mixed, places]);
    let square = selection.maker.unary(chosen, ScalarOp::Exp);
    let square = selection.maker.add(square, square);
    let square = selection.maker.unary(square, ScalarOp::Sqrt);
    let end = selection.maker.unary(square, ScalarOp::Tanh);
    selection.maker.finish(&[part, end])
}

/// A branch that captures rows of told sizes, behind the selection.
fn branched() -> Network {
    let (mut selection, mask, x) = Selection::new();
    let flag = selection.maker.fixed(&[]);
    let rows = selection.select(mask, x);
    let mixed = selection.mix(rows);
    let condition = Expr::constant(DataType::F32, 0.0).binary(ScalarOp::Less, &Expr::input(0, DataType::F32));
    let condition = selection.maker.op(Expr::into_pointwise(&[condition]).expect("a program"), &[flag]);
    let mut scope = |op: ScalarOp| {
        selection.maker.builder.open_scope();
        let changed = selection.maker.unary(mixed, op);
        let result = selection.maker.add(changed, mixed);
        selection.maker.builder.close_scope(&[result])
    };
    let (then, otherwise) = (scope(ScalarOp::Tanh), scope(ScalarOp::Abs));
    let operands = [vec![condition], then.captures, otherwise.captures].concat();
    let chosen = selection.maker.op(If { then_branch: then.body, else_branch: otherwise.body }, &operands);
    let end = selection.maker.unary(chosen, ScalarOp::Tanh);
    selection.maker.finish(&[end, mixed])
}

pub(crate) fn networks() -> [(&'static str, Network); 3] {
    [("selected", selected()), ("selected twice", selected_twice()), ("branched", branched())]
}

/// Inputs of n rows, of which `chosen` are selected.
fn inputs(network: &Network, n: usize, chosen: usize, seed: u64) -> HashMap<String, Value> {
    let mut random = Random::of("told sizes", seed);
    let order = random.order(n);
    let mask: Vec<i128> = (0..n).map(|at| i128::from(order[at] < chosen)).collect();
    let mut numbers =
        |count: usize| -> Vec<f32> { (0..count).map(|_| random.below(200) as f32 / 64.0 - 1.5).collect() };
    let mut given = HashMap::new();
    for input in &network.inputs {
        let tensor = match input.name.as_str() {
            "mask" => Tensor::from_ints(DataType::Bool, &[n], &mask).expect("as many numbers"),
            "x" => Tensor::from_vec(&[n, 12], numbers(n * 12)).expect("as many numbers"),
            _ => Tensor::from_vec(&[], numbers(1)).expect("one number"),
        };
        given.insert(input.name.clone(), Value::Tensor(tensor));
    }
    given
}

pub(crate) fn planned(network: &Network, back_end: &dyn BackEnd, island: Option<&dyn BackEnd>) -> Plan {
    let options = BuildOptions { verify: Verify::Off, island, ..BuildOptions::default() };
    let plan = build(network, back_end, options).expect("a plan").plan;
    from_bytes(to_bytes(&plan).into(), Trust::Nothing).expect("the reader accepts the plan")
}

fn syncs(plan: &Plan) -> usize {
    plan.graph.steps.iter().filter(|step| matches!(step.action, Action::Sync)).count()
}

#[test]
fn sizes_that_kernels_tell_are_read_once() {
    for (name, network) in networks() {
        let plan = planned(&network, &Cpu, None);
        let reads = syncs(&plan);
        assert_eq!(reads, if name == "selected twice" { 2 } else { 1 }, "{name}");
        let dynamic = |step: &&sinter_plan::Step| {
            let storage = |id: &sinter_plan::PlanValueId| &plan.graph.values[id.index()].storage;
            step.launch().is_some() && step.outputs.iter().any(|id| *storage(id) == Storage::Dynamic)
        };
        let dynamic = plan.graph.steps.iter().filter(dynamic).count();
        // Bodies know the sizes of inputs only.
        let in_branch = if name == "branched" { 2 } else { 0 };
        assert!(dynamic <= 2 * reads + 1, "{name}: {dynamic} steps of dynamic sizes");
        let engine = Engine::load(plan, &[&Cpu], &EngineOptions::default()).expect("an engine");
        let mut context = engine.context();
        let mut bindings = context.bindings();
        for (round, (n, chosen)) in
            [(9, 4), (9, 4), (9, 5), (9, 0), (17, 17), (9, 4), (1, 1), (33, 2)].iter().enumerate()
        {
            let given = inputs(&network, *n, *chosen, 3);
            for (name, value) in &given {
                bindings.set(name, value.clone()).expect("an input");
            }
            let before = context.counters();
            context.run_into(&mut bindings).unwrap_or_else(|e| panic!("{name}, round {round}: {e}"));
            let expected = run_with(&network, &given, &FastEvaluator).expect("the reference executor");
            for (at, expected) in expected.iter().enumerate() {
                let found = bindings.output(&network.outputs[at].name).expect("an output");
                let found = Value::Tensor(found.to_tensor().expect("a tensor"));
                compare(&found, expected, TOLERANCE).unwrap_or_else(|e| panic!("{name}, round {round}: {e}"));
            }
            let after = context.counters();
            let inferences = after.inferences - before.inferences;
            assert!(
                inferences <= dynamic + in_branch,
                "{name}: {inferences} inferences, {dynamic} steps of dynamic sizes"
            );
            if round == 1 {
                assert_eq!(after.layouts, before.layouts, "{name}: the same sizes are placed again");
            }
        }
    }
}

#[test]
fn the_build_verifies_steps_behind_told_sizes() {
    for (name, network) in networks() {
        let built = build(&network, &Cpu, BuildOptions::default()).expect("a plan");
        let found = &built.verification;
        assert!(found.dropped.is_empty() && found.skipped.is_none(), "{name}: {found:?}");
        assert!(found.agreed >= 5, "{name}: {found:?}");
        assert!(syncs(&built.plan) > 0, "{name}");
    }
}

#[test]
fn a_device_tells_sizes_too() {
    for (name, network) in networks() {
        let fake = Fake::default();
        let plan = planned(&network, &fake, Some(&Cpu));
        let engine = Engine::load(plan, &[&fake, &Cpu], &EngineOptions::default()).expect("an engine");
        for (n, chosen) in [(9, 4), (9, 4), (9, 0), (17, 17), (9, 4)] {
            let given = inputs(&network, n, chosen, 5);
            let found = engine.run(given.clone().into_iter().collect()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let expected = run_with(&network, &given, &FastEvaluator).expect("the reference executor");
            for (found, expected) in found.iter().zip(&expected) {
                compare(found, expected, TOLERANCE).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
        drop(engine);
        assert_eq!(fake.account().used(), 0, "{name}: memory is lost");
    }
}

/// A step must not depend on sizes before they are read: the reader refuses plans with other orders.
#[test]
fn reading_sizes_too_late_is_refused() {
    for (name, network) in networks() {
        let plan = planned(&network, &Cpu, None);
        let reads: Vec<usize> =
            (0..plan.graph.steps.len()).filter(|at| matches!(plan.graph.steps[*at].action, Action::Sync)).collect();
        for &at in &reads {
            let mut changed = plan.clone();
            let step = changed.graph.steps.remove(at);
            assert!(from_bytes(to_bytes(&changed).into(), Trust::Nothing).is_err(), "{name}: without step {at}");
            changed.graph.steps.push(step);
            assert!(from_bytes(to_bytes(&changed).into(), Trust::Nothing).is_err(), "{name}: step {at} at the end");
        }
    }
}
