//! Buffer aliases: compares a plan with concatenations, slices and reshapes in place with the plan that copies, bit by bit.

use std::collections::HashMap;

use sinter_base::{DataType, Dim, Location, Tensor, TensorType, Value};
use sinter_builder::{BuildOptions, Moved, Verify, build};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::builder::Handle;
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::Op;
use sinter_ops::conv::Convolution;
use sinter_ops::movement::{Concat, Reshape, Slice, Squeeze, Transpose, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode, PoolWindow};
use sinter_ops::reduce::Softmax;
use sinter_ops::window::Padding;
use sinter_plan::{Action, Plan, Register, Storage, Trust, from_bytes, to_bytes};
use sinter_runtime::{Engine, RuntimeError};
use sinter_testkit::Random;

const F32: DataType = DataType::F32;

/// Batches that symbolic networks run at.
const BATCHES: [i64; 3] = [1, 3, 0];

/// A network as it grows.
#[derive(Default)]
pub(crate) struct Maker {
    pub(crate) builder: NetworkBuilder,
    made: usize,
}

impl Maker {
    pub(crate) fn input(&mut self, dims: &[Dim]) -> Handle {
        self.made += 1;
        let ty = TensorType::ranked(F32, dims.to_vec()).into();
        self.builder.add_network_input(&format!("x{}", self.made), ty, None)
    }

    /// [N, ...] for a size that is open.
    pub(crate) fn batched(&mut self, sizes: &[i64]) -> Handle {
        let dims: Vec<Dim> = std::iter::once(Dim::symbol("N")).chain(sizes.iter().map(|&size| size.into())).collect();
        self.input(&dims)
    }

    pub(crate) fn fixed(&mut self, sizes: &[i64]) -> Handle {
        self.input(&sizes.iter().map(|&size| size.into()).collect::<Vec<Dim>>())
    }

    pub(crate) fn op(&mut self, op: impl Into<Op>, inputs: &[Handle]) -> Handle {
        let inputs: Vec<Option<Handle>> = inputs.iter().copied().map(Some).collect();
        self.builder.add(op, &inputs, &Location::default()).expect("operands that fit")[0]
    }

    pub(crate) fn concat(&mut self, axis: i64, inputs: &[Handle]) -> Handle {
        self.op(Concat { axis }, inputs)
    }

    pub(crate) fn slice(&mut self, x: Handle, axis: i64, start: i64, end: i64) -> Handle {
        let [start, end, axis] = [start, end, axis].map(|v| self.builder.constant(Tensor::of_i64(&[v])));
        self.op(Slice {}, &[x, start, end, axis])
    }

    pub(crate) fn reshape(&mut self, x: Handle, sizes: &[i64]) -> Handle {
        let sizes = self.builder.constant(Tensor::of_i64(sizes));
        self.op(Reshape::default(), &[x, sizes])
    }

    pub(crate) fn swap(&mut self, x: Handle, permutation: &[usize]) -> Handle {
        self.op(Transpose { permutation: Some(permutation.to_vec()) }, &[x])
    }

    /// A step that no pass folds into a movement.
    pub(crate) fn unary(&mut self, x: Handle, op: ScalarOp) -> Handle {
        let op = Expr::into_pointwise(&[Expr::input(0, F32).unary(op)]).expect("a program");
        self.op(op, &[x])
    }

    pub(crate) fn add(&mut self, a: Handle, b: Handle) -> Handle {
        let op = Expr::into_pointwise(&[Expr::input(0, F32) + Expr::input(1, F32)]).expect("a program");
        self.op(op, &[a, b])
    }

    pub(crate) fn conv(&mut self, x: Handle, sizes: [usize; 4], groups: usize) -> Handle {
        let mut random = Random(sizes.iter().sum::<usize>() as u64 + 1);
        let numbers = (0..sizes.iter().product()).map(|_| random.below(1000) as f32 / 2000.0 - 0.25).collect();
        let weight = self.builder.add_weight("w", Tensor::from_vec(&sizes, numbers).expect("a weight"));
        let pad = i64::try_from(sizes[2] / 2).expect("a small kernel");
        let padding = Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
        let op = Convolution { strides: vec![1, 1], dilations: vec![1, 1], padding, groups };
        self.op(op, &[x, weight])
    }

    pub(crate) fn pool(&mut self, x: Handle, mode: PoolMode) -> Handle {
        let window = PoolWindow {
            kernel: vec![3, 3],
            strides: vec![1, 1],
            dilations: vec![1, 1],
            padding: Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] },
            ceil: false,
        };
        self.op(Pool { mode, window: Some(window) }, &[x])
    }

    pub(crate) fn finish(self, outputs: &[Handle]) -> Network {
        let named: Vec<_> = outputs.iter().enumerate().map(|(i, output)| (format!("y{i}"), *output)).collect();
        self.builder.finish("parts", &named)
    }
}

fn planned(network: &Network, alias_buffers: bool) -> (Plan, Vec<Moved>) {
    let options = BuildOptions { threads: 2, alias_buffers, verify: Verify::Off, ..BuildOptions::default() };
    let built = build(network, &Cpu, options).expect("a plan");
    (from_bytes(to_bytes(&built.plan).into(), Trust::Nothing).expect("a plan that can be read"), built.moved)
}

/// Steps that do nothing.
fn placed(plan: &Plan) -> usize {
    plan.graph.steps.iter().filter(|step| matches!(step.action, Action::Alias { .. })).count()
}

pub(crate) fn inputs(network: &Network, batch: i64, seed: u64) -> HashMap<String, Value> {
    let mut random = Random(seed);
    let made = network.inputs.iter().map(|input| {
        let dims = network.body.ty(input.value).as_tensor().expect("a tensor").dims().expect("a rank").to_vec();
        let sizes: Vec<usize> =
            dims.iter().map(|dim| dim.evaluate(&|_| Some(batch)).expect("a size") as usize).collect();
        let numbers = (0..sizes.iter().product()).map(|_| random.below(2000) as f32 / 500.0 - 2.0).collect();
        (input.name.clone(), Value::Tensor(Tensor::from_vec(&sizes, numbers).expect("a tensor")))
    });
    made.collect()
}

/// Runs with and without aliases at all batches; `at_least` is the smallest number of steps that must move nothing.
fn same(network: &Network, at_least: usize) {
    let ((plan, moved), (copying, _)) = (planned(network, true), planned(network, false));
    assert_eq!(placed(&copying), 0);
    assert!(placed(&plan) >= at_least, "{} of {at_least} steps are placed: {moved:?}", placed(&plan));
    let engine = |plan: Plan| Engine::from_plan(plan, &[&Cpu], 2).expect("an engine");
    let (engine, copying) = (engine(plan), engine(copying));
    // Twice, so that what an earlier run left in memory would show.
    for (seed, batch) in (0u64..).zip(BATCHES.into_iter().chain(BATCHES)) {
        let given = inputs(network, batch, seed);
        let named = || given.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let (found, expected) = (engine.run(named()).expect("a run"), copying.run(named()).expect("a run"));
        assert_eq!(found, expected, "batch {batch}: {:?}", engine.plan().tactics());
        if batch > 0 {
            let judged = run_with(network, &given, &FastEvaluator).expect("the judge");
            for (found, judged) in found.iter().zip(&judged) {
                let (found, judged) = (found.as_tensor().unwrap().to_floats(), judged.as_tensor().unwrap().to_floats());
                assert!(found.iter().zip(&judged).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0)));
            }
        }
    }
}

#[test]
fn concatenations_along_every_axis() {
    for axis in 0..4 {
        let mut maker = Maker::default();
        let mut sizes = [2, 3, 5, 7];
        let mut parts = Vec::new();
        for (size, op) in [(1, ScalarOp::Neg), (4, ScalarOp::Abs), (2, ScalarOp::Exp)] {
            sizes[axis] = size;
            let x = maker.fixed(&sizes);
            parts.push(maker.unary(x, op));
        }
        let joined = maker.concat(axis as i64, &parts);
        let y = maker.unary(joined, ScalarOp::Neg);
        same(&maker.finish(&[joined, y]), 1);
    }
}

#[test]
fn slices_along_every_axis() {
    for axis in 0..4 {
        let mut maker = Maker::default();
        let x = maker.fixed(&[4, 4, 5, 6]);
        let given = [maker.slice(x, axis, 1, 3), maker.slice(x, axis, -1, i64::MAX)];
        let x = maker.unary(x, ScalarOp::Neg);
        let made = [maker.slice(x, axis, 0, 2), maker.slice(x, axis, 2, 4)];
        let outputs = [given[0], given[1], made[0], made[1]].map(|part| maker.unary(part, ScalarOp::Exp));
        let sum = maker.add(given[0], made[1]);
        same(&maker.finish(&[outputs.as_slice(), &[sum]].concat()), 4);
    }
}

#[test]
fn batches_of_open_size() {
    let mut maker = Maker::default();
    let (a, b) = (maker.batched(&[3, 4]), maker.batched(&[3, 4]));
    let parts = [maker.unary(a, ScalarOp::Neg), maker.unary(b, ScalarOp::Abs), maker.unary(b, ScalarOp::Exp)];
    let stacked = maker.concat(0, &parts);
    let wide = maker.concat(2, &parts[..2]);
    let half = maker.slice(wide, 2, 2, 6);
    let first = maker.slice(stacked, 0, 0, 1);
    let outputs = [stacked, half, first].map(|x| maker.unary(x, ScalarOp::Neg));
    same(&maker.finish(&outputs), 3);
}

/// Values that are inputs, results, shared or written twice are no aliases, and are copied.
#[test]
fn operands_that_cannot_be_parts() {
    let mut maker = Maker::default();
    let (x, given) = (maker.fixed(&[40, 30]), maker.fixed(&[5, 30]));
    let [a, b, c] = [ScalarOp::Neg, ScalarOp::Abs, ScalarOp::Exp].map(|op| maker.unary(x, op));
    let joined = maker.concat(0, &[a, given, b, a, c]);
    let other = maker.concat(0, &[c, b]);
    let inner = maker.slice(joined, 0, 3, 70);
    let outputs = [maker.unary(joined, ScalarOp::Neg), maker.unary(other, ScalarOp::Exp), c, inner];
    same(&maker.finish(&outputs), 1);
}

/// Each layer reads all before it and adds to them: written as one growing list, and as lists of lists.
#[test]
fn dense_blocks() {
    for is_nested in [false, true] {
        let mut maker = Maker::default();
        let x = maker.batched(&[16, 5, 6]);
        let mut features = vec![maker.conv(x, [24, 16, 1, 1], 1)];
        let mut joined = features[0];
        for layer in 0..4usize {
            let wide = maker.unary(joined, ScalarOp::Neg);
            let narrow = maker.conv(wide, [16, 24 + 16 * layer, 1, 1], 1);
            let narrow = maker.unary(narrow, ScalarOp::Abs);
            let new = maker.conv(narrow, [16, 16, 3, 3], 1);
            features.push(new);
            joined = if is_nested { maker.concat(1, &[joined, new]) } else { maker.concat(1, &features) };
        }
        let y = maker.pool(joined, PoolMode::Average { count_padding: false });
        same(&maker.finish(&[y]), 4);
    }
}

/// Branches that are joined, cut again, and joined with what they came from.
#[test]
fn branches_of_convolutions() {
    let mut maker = Maker::default();
    let x = maker.batched(&[16, 6, 5]);
    let squeezed = maker.conv(x, [16, 16, 1, 1], 1);
    let left = maker.conv(squeezed, [32, 16, 1, 1], 1);
    let right = maker.conv(squeezed, [16, 16, 3, 3], 1);
    let pooled = maker.pool(squeezed, PoolMode::Max);
    let joined = maker.concat(1, &[left, right, pooled]);
    let (a, b) = (maker.slice(joined, 1, 0, 32), maker.slice(joined, 1, 32, 64));
    let deep = maker.conv(b, [32, 1, 3, 3], 32);
    let sum = maker.add(a, deep);
    let back = maker.conv(sum, [16, 32, 1, 1], 1);
    let grouped = maker.conv(joined, [32, 32, 3, 3], 2);
    let again = maker.concat(1, &[a, back, grouped, squeezed, back]);
    let y = maker.conv(again, [8, 112, 1, 1], 1);
    same(&maker.finish(&[y]), 1);
}

/// Reshapes of inputs, of values of the arena, of each other, and into results of the network, where sizes are open too.
#[test]
fn reshapes_of_everything() {
    let mut maker = Maker::default();
    let (x, wide) = (maker.batched(&[4, 6]), maker.fixed(&[8, 9]));
    let split = maker.reshape(x, &[0, 2, 2, 6]);
    let swapped = maker.swap(split, &[0, 2, 1, 3]);
    let flat = maker.reshape(swapped, &[0, -1]);
    let y = maker.unary(flat, ScalarOp::Exp);
    let axes = maker.builder.constant(Tensor::of_i64(&[0, 2]));
    let unsqueezed = maker.op(Unsqueeze {}, &[y, axes]);
    let z = maker.unary(unsqueezed, ScalarOp::Neg);
    let squeezed = maker.op(Squeeze {}, &[z, axes]);
    let tall = maker.reshape(wide, &[3, 24]);
    let sum = maker.add(tall, tall);
    let back = maker.reshape(sum, &[72]);
    // Both read the value that one of them returns.
    let (once, twice) = (maker.reshape(y, &[-1, 8]), maker.reshape(y, &[0, 3, 8]));
    let read = maker.unary(y, ScalarOp::Abs);
    let network = maker.finish(&[squeezed, tall, back, once, twice, read]);
    // Passes remove the pair around the negation.
    same(&network, 4);
    // Only the input that is a result is copied, and one of two results that are the same elements.
    let (plan, moved) = planned(&network, true);
    let copies = plan.tactics().into_iter().filter(|tactic| tactic.contains("copy")).count();
    assert_eq!((copies, moved.len()), (2, 2), "{moved:?}");
}

/// Rows that several readers and writers reach through reshapes: heads of a joint projection, stacked matrices.
#[test]
fn rows_under_other_shapes() {
    let mut maker = Maker::default();
    let x = maker.batched(&[5, 48]);
    let joint = maker.unary(x, ScalarOp::Neg);
    let split = maker.reshape(joint, &[0, 0, 3, 16]);
    let mut parts = Vec::new();
    for part in 0..3 {
        let one = maker.slice(split, 2, part, part + 1);
        let rows = maker.reshape(one, &[0, 0, 16]);
        parts.push(maker.unary(rows, ScalarOp::Exp));
    }
    let sum = maker.add(parts[0], parts[1]);
    let sum = maker.add(sum, parts[2]);
    let stack: Vec<Handle> = parts.iter().map(|part| maker.reshape(*part, &[0, 5, 1, 16])).collect();
    let stacked = maker.concat(2, &stack);
    let merged = maker.reshape(stacked, &[0, 5, 48]);
    let y = maker.unary(merged, ScalarOp::Abs);
    let network = maker.finish(&[sum, y]);
    // Four reshapes, three slices and the concatenation.
    same(&network, 8);
    let (plan, moved) = planned(&network, true);
    assert!(moved.is_empty() && plan.tactics().iter().all(|tactic| tactic.contains("pointwise")), "{moved:?}");
}

/// A result takes over the memory of an operand under another shape.
#[test]
fn reshapes_in_place() {
    let mut maker = Maker::default();
    let x = maker.batched(&[64, 64]);
    let mut y = maker.unary(x, ScalarOp::Neg);
    for sizes in [[0, 32, 128], [0, 128, 32], [0, 16, 256]] {
        let shaped = maker.reshape(y, &sizes);
        let swapped = maker.swap(shaped, &[0, 2, 1]);
        let again = maker.reshape(swapped, &[0, 64, 64]);
        y = maker.op(Softmax { axis: -1, log: false }, &[again]);
        y = maker.reshape(y, &[0, 4096]);
    }
    let network = maker.finish(&[y]);
    same(&network, 6);
    let (plan, _) = planned(&network, true);
    let pairs = plan.graph.steps.iter().filter(|step| !step.in_place().is_empty()).count();
    assert!(pairs > 1, "{pairs} steps reuse the memory of a reshaped operand");
}

/// Operands without elements, and parts of nothing.
#[test]
fn nothing_at_all() {
    let mut maker = Maker::default();
    let (x, none) = (maker.fixed(&[2, 6, 4]), maker.fixed(&[2, 0, 4]));
    let (a, nothing) = (maker.unary(x, ScalarOp::Neg), maker.unary(none, ScalarOp::Neg));
    let joined = maker.concat(1, &[nothing, a]);
    let all = maker.slice(joined, 1, 0, 3);
    let empty = maker.slice(joined, 1, 5, 2);
    let end = maker.slice(joined, 1, 6, 9);
    let outputs = [all, empty, end].map(|x| maker.unary(x, ScalarOp::Exp));
    same(&maker.finish(&outputs), 1);
}

/// Any register in a plan: an error when the plan is read, or before the run starts.
#[test]
fn parts_outside_of_their_wholes() {
    let mut maker = Maker::default();
    let x = maker.fixed(&[4, 3]);
    let parts = [maker.unary(x, ScalarOp::Neg), maker.unary(x, ScalarOp::Abs)];
    let joined = maker.concat(0, &parts);
    let y = maker.unary(joined, ScalarOp::Exp);
    let plan = confused_registers(&maker.finish(&[y]), (2, 4));
    let mut nested = plan;
    let parts: Vec<usize> = (0..nested.graph.values.len())
        .filter(|v| matches!(nested.graph.values[*v].storage, Storage::Alias(_)))
        .collect();
    if let Storage::Alias(part) = &mut nested.graph.values[parts[0]].storage {
        part.base = sinter_plan::PlanValueId::new(parts[1]);
    }
    assert!(from_bytes(to_bytes(&nested).into(), Trust::Nothing).is_err());
}

/// As [`parts_outside_of_their_wholes`], for reshapes of an input, of a value of the arena and into a result, and for an
/// operand that is another value than the base buffer.
#[test]
fn reshapes_of_other_values() {
    let mut maker = Maker::default();
    let x = maker.batched(&[4, 3]);
    let flat = maker.reshape(x, &[0, 12]);
    let made = maker.unary(flat, ScalarOp::Exp);
    let split = maker.reshape(made, &[0, 2, 6]);
    let swapped = maker.swap(split, &[0, 2, 1]);
    let y = maker.reshape(swapped, &[0, 12]);
    let plan = confused_registers(&maker.finish(&[y]), (3, 4));
    for step in (0..plan.graph.steps.len()).filter(|at| matches!(plan.graph.steps[*at].action, Action::Alias { .. })) {
        for value in 0..plan.graph.values.len() {
            let other = Some(sinter_plan::PlanValueId::new(value));
            let mut changed = plan.clone();
            changed.graph.steps[step].inputs[0] = other;
            let is_same = plan.graph.steps[step].inputs[0] == other;
            assert_eq!(from_bytes(to_bytes(&changed).into(), Trust::Nothing).is_ok(), is_same, "{step} of v{value}");
        }
    }
}

/// Runs a plan with every register in every place of its aliases, of which there are `aliases`; returns the plan.
fn confused_registers(network: &Network, (aliases, least): (usize, usize)) -> Plan {
    let (plan, _) = planned(network, true);
    let given: Vec<(String, Value)> = inputs(network, 1, 5).into_iter().collect();
    let (mut refused, mut at) = (0, 0);
    for value in 0..plan.graph.values.len() {
        let Storage::Alias(part) = plan.graph.values[value].storage else { continue };
        at += 1;
        for register in (0..plan.shapes.register_count()).map(|r| Register(r as u32)) {
            for which in 0..3 {
                let mut changed = part;
                *[&mut changed.offset, &mut changed.inner, &mut changed.step][which] = register;
                let mut plan = plan.clone();
                plan.graph.values[value].storage = Storage::Alias(changed);
                let Ok(plan) = from_bytes(to_bytes(&plan).into(), Trust::Nothing) else {
                    refused += 1;
                    continue;
                };
                let engine = Engine::from_plan(plan, &[&Cpu], 1).expect("an engine");
                match engine.run(given.clone()) {
                    Ok(_) => {}
                    Err(RuntimeError::Damaged(_)) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    assert!(at == aliases && refused > least, "{refused} refused for {at} parts");
    plan
}
