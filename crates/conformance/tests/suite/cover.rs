//! Networks that the cover once got wrong, built without verification and held against the judge.

use std::collections::HashMap;

use sinter_base::{DataType, Location, Tensor, Value, ValueType};
use sinter_conformance::engine::{checked, run_here};
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::NetworkBuilder;
use sinter_ops::conv::Convolution;
use sinter_ops::movement::Concat;
use sinter_ops::pointwise::Expr;

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
