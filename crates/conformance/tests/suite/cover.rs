//! Networks for which the cover was once wrong, built without verification and compared with the reference executor.

use std::collections::HashMap;

use sinter_base::{DataType, Dim, Location, Tensor, Value, ValueType};
use sinter_builder::{BuildOptions, SizeHint, SizeHints, Verify, build};
use sinter_conformance::engine::{checked, run_here};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::{Handle, Network, NetworkBuilder};
use sinter_ops::conv::Convolution;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Transpose};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::window::Padding;
use sinter_ops::{Op, OpKind};

fn numbers(sizes: &[usize], seed: usize) -> Tensor {
    let count = sizes.iter().product();
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
    Tensor::from_vec(sizes, (0..count).map(number).collect()).expect("as many numbers as the sizes say")
}

/// Between convolutions, where everything lies channels last: a concatenation and a pointwise operator with an operand
/// that comes twice, before another one.
#[test]
fn operands_that_come_twice() {
    let mut builder = NetworkBuilder::new();
    let ty = ValueType::tensor(DataType::F32, vec![2i64.into(), 16i64.into(), 7i64.into(), 9i64.into()]);
    let x = builder.add_network_input("x", ty, None);
    let conv = |builder: &mut NetworkBuilder, x, channels: usize, seed: usize| {
        let w = builder.add_weight(&format!("w{seed}"), numbers(&[16, channels, 3, 3], seed));
        builder.add(Convolution::plain(2), &[Some(x), Some(w)], &Location::default()).expect("a convolution")[0]
    };
    let (a, b) = (conv(&mut builder, x, 16, 1), conv(&mut builder, x, 16, 2));
    let joined = builder.add(Concat { axis: 1 }, &[Some(a), Some(a), Some(b), Some(a)], &Location::default());
    let joined = conv(&mut builder, joined.expect("a concatenation")[0], 64, 3);
    let [p, q, r] = [0, 1, 2].map(|index| Expr::input(index, DataType::F32));
    let mixed = Expr::into_pointwise(&[&(&p * &q) + &(&r * 0.5)]).expect("a program");
    let mixed = builder.add(mixed, &[Some(a), Some(a), Some(b)], &Location::default()).expect("a sum")[0];
    let mixed = conv(&mut builder, mixed, 16, 4);
    let network = builder.finish("twice", &[("joined".to_owned(), joined), ("mixed".to_owned(), mixed)]);
    let inputs = HashMap::from([("x".to_owned(), Value::Tensor(numbers(&[2, 16, 7, 9], 5)))]);
    let expected = run_with(&network, &inputs, &FastEvaluator).expect("the judge");
    let found = run_here(&checked(&network).expect("a plan"), &inputs).expect("an engine");
    for (found, expected) in found.iter().zip(&expected) {
        compare(found, expected, Tolerance { relative: 1e-4, absolute: 1e-2 }).expect("agreement");
    }
}

/// Two convolutions of three by three with activations between.
fn convolutions(batch: Dim, channels: usize, side: usize) -> Network {
    let mut builder = NetworkBuilder::new();
    let side = i64::try_from(side).expect("a small image");
    let ty = ValueType::tensor(DataType::F32, vec![batch, 3i64.into(), side.into(), side.into()]);
    let mut value = builder.add_network_input("x", ty, None);
    for (layer, inputs) in [3, channels].into_iter().enumerate() {
        let w = builder.add_weight(&format!("w{layer}"), numbers(&[channels, inputs, 3, 3], layer));
        let padding = Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] };
        let op = Convolution { padding, ..Convolution::plain(2) };
        value = builder.add(op, &[Some(value), Some(w)], &Location::default()).expect("a convolution")[0];
        let x = Expr::input(0, DataType::F32);
        let relu = Expr::into_pointwise(&[x.binary(ScalarOp::Max, &x.same(0.0))]).expect("a program");
        value = builder.add(relu, &[Some(value)], &Location::default()).expect("an activation")[0];
    }
    builder.finish("convolutions", &[("y".to_owned(), value)])
}

/// Layouts are chosen for the sizes that kernels are chosen for: a dynamic dimension counts as the named size, and a
/// batch as one where none is.
#[test]
fn dynamic_dimensions_are_covered_at_their_optima() {
    let tactics = |network: &Network, opt: Option<i64>| {
        let hint = |opt| ("N".to_owned(), SizeHint { opt: Some(opt), ..SizeHint::default() });
        let sizes = SizeHints(opt.map(hint).into_iter().collect());
        let options = BuildOptions { threads: 2, verify: Verify::Off, sizes, ..BuildOptions::default() };
        let plan = build(network, &Cpu, options).expect("a plan").plan;
        plan.tactics().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (channels, side) in [(8, 64), (16, 28), (32, 14), (64, 28), (64, 56)] {
        let free = convolutions(Dim::symbol("N"), channels, side);
        for batch in [1, 16] {
            let pinned = tactics(&convolutions(batch.into(), channels, side), None);
            assert_eq!(tactics(&free, Some(batch)), pinned, "{channels} channels of {side}, {batch} images");
        }
        let single = tactics(&convolutions(1i64.into(), channels, side), None);
        assert_eq!(tactics(&free, None), single, "{channels} channels of {side}");
    }
}

/// A product over the channels between convolutions, as exporters write it: the product reads the channels-last result
/// of one convolution in place, and the next convolution reads the product's result in place.
#[test]
fn transposes_that_are_formats_are_no_steps() {
    let mut builder = NetworkBuilder::new();
    let ty = ValueType::tensor(DataType::F32, [1i64, 16, 40, 40].map(Into::into).to_vec());
    let x = builder.add_network_input("x", ty, None);
    let add = |builder: &mut NetworkBuilder, op: Op, inputs: &[Handle]| {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        builder.add(op, &inputs, &Location::default()).expect("an operator of these inputs")[0]
    };
    let [v, u] = [1, 2].map(|seed| builder.add_weight(&format!("w{seed}"), numbers(&[16, 16, 3, 3], seed)));
    let w = builder.add_weight("w", numbers(&[16, 16], 3));
    let a = add(&mut builder, Convolution::plain(2).into(), &[x, v]);
    let a = add(&mut builder, Transpose::to_channels_last(4).into(), &[a]);
    let a = add(&mut builder, MatMul::default().into(), &[a, w]);
    let a = add(&mut builder, Transpose::to_channels_first(4).into(), &[a]);
    let y = add(&mut builder, Convolution::plain(2).into(), &[a, u]);
    let network = builder.finish("formats", &[("y".to_owned(), y)]);
    let options = BuildOptions { threads: 2, ..BuildOptions::default() };
    let built = build(&network, &Cpu, options).expect("a plan");
    assert!(built.verification.dropped.is_empty(), "{:?}", built.verification.dropped);
    assert_eq!(built.costs.solved, built.costs.emitted);
    let kinds: Vec<Vec<OpKind>> = built
        .plan
        .graph
        .steps
        .iter()
        .map(|step| step.region().expect("a region").body().nodes().iter().map(|node| node.op.kind()).collect())
        .collect();
    let moves = kinds.iter().filter(|kinds| kinds[..] == [OpKind::Transpose]).count();
    assert!(kinds.len() == 5 && moves == 2, "the input and the output are plain, all between is not: {kinds:?}");
    let inputs = HashMap::from([("x".to_owned(), Value::Tensor(numbers(&[1, 16, 40, 40], 5)))]);
    let expected = run_with(&network, &inputs, &FastEvaluator).expect("the judge");
    let found = run_here(&built.plan, &inputs).expect("an engine");
    compare(&found[0], &expected[0], Tolerance { relative: 1e-3, absolute: 1e-2 }).expect("agreement");
}
