//! Networks that the cover once got wrong, built without verification and held against the judge.

use std::collections::HashMap;

use sinter_base::{DataType, Dim, Location, Tensor, Value, ValueType};
use sinter_builder::{BuildOptions, SizeHint, SizeHints, Verify, build};
use sinter_conformance::engine::{checked, run_here};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::conv::Convolution;
use sinter_ops::movement::Concat;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::window::Padding;

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

/// Layouts are chosen for the sizes that kernels are chosen for: a free size counts as the one that is named, and a batch
/// as one where none is.
#[test]
fn free_sizes_are_covered_as_their_usual_values_are() {
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
