//! Regions of several heavy operators beside their split form: the same bits from kernels of the parts, results that the
//! reference executor confirms, and no influence of the number of threads.

use std::collections::HashMap;

use sinter_backend::{BackEnd, Region};
use sinter_base::{DataType, Location, Tensor, Value, ValueType};
use sinter_builder::{BuildOptions, build};
use sinter_conformance::engine::run_here;
use sinter_conformance::kernels::{offers, run_candidate, run_kernel};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};
use sinter_ir::NetworkBuilder;
use sinter_ops::conv::Convolution;
use sinter_ops::evaluate::{EvalContext, ReferenceEvaluator};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::norm::{Measure, Normalize};
use sinter_ops::pointwise::{Expr, Pointwise, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode, PoolWindow};
use sinter_ops::window::Padding;
use sinter_ops::{Body, InferContext, Op, ValueId};

fn numbers(sizes: &[usize], seed: usize) -> Tensor {
    let count = sizes.iter().product();
    let values = (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect();
    Tensor::from_vec(sizes, values).expect("as many numbers as the sizes say")
}

/// A region in the making, with the numbers of its operands.
#[derive(Default)]
struct Parts {
    body: Body,
    operands: Vec<Option<Value>>,
    weights: Vec<usize>,
}

impl Parts {
    fn operand(&mut self, value: Value) -> ValueId {
        self.operands.push(Some(value.clone()));
        self.body.add_input(value.value_type())
    }

    fn input(&mut self, sizes: &[usize]) -> ValueId {
        let seed = self.operands.len() + 1;
        self.operand(numbers(sizes, seed).into())
    }

    fn weight(&mut self, sizes: &[usize]) -> ValueId {
        self.weights.push(self.operands.len());
        self.input(sizes)
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.body.add(op.into(), &inputs, &mut InferContext::default()).expect("operands of these types")[0]
    }

    fn sizes(&self, id: ValueId) -> Vec<usize> {
        self.body.ty(id).as_tensor().and_then(|ty| ty.shape.sizes()).expect("static sizes").to_vec()
    }

    fn finish(mut self, results: &[ValueId]) -> (Region, Vec<Option<Value>>) {
        self.body.set_outputs(results.to_vec());
        (Region::new(self.body).with_constants(self.weights), self.operands)
    }
}

fn bits(values: &[Value]) -> Vec<Vec<u32>> {
    let of = |value: &Value| value.as_tensor().expect("a tensor").elements::<f32>().expect("f32").to_vec();
    values.iter().map(|value| of(value).into_iter().map(f32::to_bits).collect()).collect()
}

/// Runs every candidate of a tactic on one, two and three threads; returns the results of the first candidate.
fn agrees(tactic: &str, (region, operands): &(Region, Vec<Option<Value>>), about: &str) -> Vec<Value> {
    let tactic = Cpu.tactic(tactic).expect("a tactic of this name");
    let devices = [1, 2, 3].map(|threads| Cpu.open(threads).expect("the processor"));
    let expected = region.body().evaluate(operands.clone(), &EvalContext::new(&ReferenceEvaluator)).unwrap();
    let candidates = offers(tactic, region, devices[0].target());
    let candidates = candidates.unwrap_or_else(|refusal| panic!("{} refuses {about}: {refusal}", tactic.name()));
    let mut first = None;
    for candidate in &candidates {
        let on = |device| run_candidate(device, tactic, candidate, region, operands).expect("a kernel that runs");
        let found = devices.each_ref().map(|device| on(&**device));
        let same = bits(&found[0]) == bits(&found[1]) && bits(&found[0]) == bits(&found[2]);
        assert!(same, "{about}: the number of threads shows in {}", candidate.recipe);
        assert_eq!(found[0].len(), expected.len());
        for (found, expected) in found[0].iter().zip(&expected) {
            if let Err(difference) = compare(found, expected, Tolerance { relative: 1e-4, absolute: 1e-5 }) {
                panic!("{about} by {}: {difference}", candidate.recipe);
            }
        }
        let [found, ..] = found;
        first.get_or_insert(found);
    }
    first.expect("an offer without candidates")
}

/// The first result of a tactic.
fn runs(tactic: &str, (region, operands): &(Region, Vec<Option<Value>>)) -> Vec<Value> {
    let tactic = Cpu.tactic(tactic).expect("a tactic of this name");
    run_kernel(&*Cpu.open(2).expect("the processor"), tactic, region, operands).expect("a kernel that runs")
}

/// Programs in which a gate and another product meet, the last one with an operand of its own.
fn gates() -> [(&'static str, Pointwise, bool); 4] {
    let [gate, up, other] = [0, 1, 2].map(|index| Expr::input(index, DataType::F32));
    let gelu = &(&gate * 0.5) * &(&(&gate * 0.7).unary(ScalarOp::Erf) + 1.0);
    let biased = &gate + &other;
    let program = |expr: Expr| Expr::into_pointwise(&[expr]).expect("a program");
    [
        ("silu", program(&(&gate * &gate.unary(ScalarOp::Sigmoid)) * &up), false),
        ("gelu", program(&up * &gelu), false),
        ("sigmoid", program(&gate.unary(ScalarOp::Sigmoid) * &up), false),
        ("silu with a bias", program(&(&biased * &biased.unary(ScalarOp::Sigmoid)) * &up), true),
    ]
}

#[test]
fn gated_products() {
    let sizes: [(&[usize], usize); 11] = [
        (&[1, 1], 1),
        (&[1, 300], 5),
        (&[3, 130], 17),
        (&[13, 33], 257),
        (&[97, 160], 3),
        (&[2, 50, 49], 160),
        (&[7, 64], 64),
        (&[131, 20], 301),
        (&[0, 5], 7),
        (&[4, 0], 6),
        (&[300], 40),
    ];
    for (position, (a, columns)) in sizes.into_iter().enumerate() {
        let inner = a[a.len() - 1];
        for (name, program, has_bias) in gates() {
            let about = format!("{name} of {a:?} times {inner}x{columns}");
            let transposed = position % 2 == 1;
            let products = |parts: &mut Parts| {
                let x = parts.input(a);
                [false, transposed].map(|transpose_b| {
                    let w = parts.weight(&if transpose_b { [columns, inner] } else { [inner, columns] });
                    parts.add(MatMul { transpose_b, ..MatMul::default() }, &[x, w])
                })
            };
            let mut parts = Parts::default();
            let [gate, up] = products(&mut parts);
            let mut inputs = vec![gate, up];
            if has_bias {
                inputs.push(parts.weight(&[columns]));
            }
            let y = parts.add(program.clone(), &inputs);
            let found = agrees("cpu.matmul.gated.f32", &parts.finish(&[y]), &about);

            let mut parts = Parts::default();
            let made = products(&mut parts);
            let made = runs("cpu.matmul.panels.f32", &parts.finish(&made));
            let mut parts = Parts::default();
            let mut inputs: Vec<ValueId> = made.into_iter().map(|value| parts.operand(value)).collect();
            if has_bias {
                inputs.push(parts.operand(numbers(&[columns], 4).into()));
            }
            let y = parts.add(program, &inputs);
            let split = runs("cpu.pointwise.program", &parts.finish(&[y]));
            assert_eq!(bits(&found), bits(&split), "{about}: the split form has other bits");
        }
    }
}

/// Normalized rows in front of products: of every measure, with and without a scale, with and without epilogues.
#[test]
fn normalized_products() {
    let sizes: [(&[usize], &[usize]); 9] = [
        (&[1, 1], &[1]),
        (&[1, 300], &[5, 33]),
        (&[3, 130], &[17, 1, 160]),
        (&[13, 33], &[257]),
        (&[2, 97, 160], &[3, 48]),
        (&[211, 20], &[301]),
        (&[0, 5], &[7]),
        (&[1, 2, 64], &[96]),
        (&[9, 1031], &[144, 31]),
    ];
    let measures = [Measure::Deviation, Measure::RootMeanSquare, Measure::Norm { order: 1.0 }];
    for (x_sizes, columns) in sizes {
        let inner = x_sizes[x_sizes.len() - 1];
        for (position, measure) in measures.iter().enumerate() {
            for has_scale in [true, false] {
                let op = Normalize { measure: measure.clone(), ..Normalize::deviation(vec![-1], 1e-5) };
                let about = format!("{op:?} of {x_sizes:?} times {columns:?}, scaled: {has_scale}");
                let [v, w, b] = [0, 1, 2].map(|index| Expr::input(index, DataType::F32));
                let scaled = Expr::into_pointwise(&[&(&v * &w) + &b]).expect("a program");
                let normalized = |parts: &mut Parts| {
                    let x = parts.input(x_sizes);
                    let mut y = parts.add(op.clone(), &[x]);
                    if has_scale {
                        let (scale, shift) = (parts.weight(&[inner]), parts.weight(&[inner]));
                        y = parts.add(scaled.clone(), &[y, scale, shift]);
                    }
                    y
                };
                let seeds = if has_scale { 3 } else { 1 };
                let products = |parts: &mut Parts, y: ValueId| {
                    let mut results = Vec::new();
                    for (index, &columns) in columns.iter().enumerate() {
                        let weight = parts.weight(&[inner, columns]);
                        let mut product = parts.add(MatMul::default(), &[y, weight]);
                        if index % 2 == position % 2 {
                            let sizes = parts.sizes(product);
                            let other = parts.input(&sizes);
                            let sum = Expr::into_pointwise(&[(&v + &w).binary(ScalarOp::Max, &v.same(0.0))]);
                            product = parts.add(sum.expect("a program"), &[product, other]);
                        }
                        results.push(product);
                    }
                    results
                };
                let mut parts = Parts::default();
                let y = normalized(&mut parts);
                let results = products(&mut parts, y);
                let found = agrees("cpu.norm.product.f32", &parts.finish(&results), &about);

                let mut parts = Parts::default();
                let y = normalized(&mut parts);
                let tactic = if has_scale { "cpu.norm.rows.f32" } else { "cpu.norm.normalize" };
                let y = runs(tactic, &parts.finish(&[y])).remove(0);
                // The weights of the products have the seeds that they have in the whole region.
                let mut parts = Parts::default();
                for _ in 0..seeds {
                    parts.operands.push(None);
                }
                let ty = y.value_type();
                let id = parts.body.add_input(ty);
                let results = products(&mut parts, id);
                let operands = [Some(y)].into_iter().chain(parts.operands.drain(seeds..)).collect();
                let weights = parts.weights.iter().map(|weight| weight + 1 - seeds).collect();
                parts.weights = weights;
                let (region, _) = parts.finish(&results);
                let split = runs("cpu.matmul.panels.f32", &(region, operands));
                assert_eq!(bits(&found), bits(&split), "{about}: the split form has other bits");
            }
        }
    }
}

/// Convolutions with epilogues in front of pools, with windows of all kinds.
#[test]
fn pooled_convolutions() {
    let pads = |begin: &[i64], end: &[i64]| Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() };
    let window = |kernel: &[usize], stride: usize, padding: Padding, ceil: bool| PoolWindow {
        strides: vec![stride; kernel.len()],
        padding,
        ceil,
        ..PoolWindow::of(kernel)
    };
    let average = |count_padding| PoolMode::Average { count_padding };
    let none = pads(&[0, 0], &[0, 0]);
    let one = pads(&[1, 1], &[1, 1]);
    // Image, weight, stride and padding of the convolution; window and mode of the pool.
    let cases = [
        (vec![1, 1, 1, 1], vec![1, 1, 1, 1], 1, none.clone(), window(&[1, 1], 1, none.clone(), false), PoolMode::Max),
        (
            vec![2, 13, 17, 20],
            vec![33, 20, 3, 3],
            1,
            one.clone(),
            window(&[2, 2], 2, none.clone(), false),
            PoolMode::Max,
        ),
        (
            vec![1, 23, 11, 3],
            vec![64, 3, 7, 7],
            2,
            pads(&[3, 3], &[3, 3]),
            window(&[3, 3], 2, one.clone(), false),
            PoolMode::Max,
        ),
        (
            vec![3, 40, 31, 16],
            vec![160, 16, 1, 1],
            1,
            none.clone(),
            window(&[3, 3], 2, none.clone(), true),
            average(false),
        ),
        (vec![1, 97, 5, 32], vec![48, 32, 3, 3], 1, one.clone(), window(&[5, 3], 1, one.clone(), false), average(true)),
        (
            vec![1, 64, 70, 18],
            vec![128, 18, 3, 3],
            1,
            one.clone(),
            window(&[3, 3], 2, one.clone(), false),
            PoolMode::Max,
        ),
        (vec![2, 9, 7, 2], vec![5, 2, 2, 3], 1, none.clone(), window(&[2, 1], 3, none.clone(), false), PoolMode::Max),
        (vec![1, 300, 8], vec![24, 8, 5], 1, pads(&[2], &[2]), window(&[4], 3, pads(&[1], &[2]), true), PoolMode::Max),
        (
            vec![1, 6, 9, 7, 16],
            vec![17, 16, 3, 1, 3],
            1,
            pads(&[1; 3], &[1; 3]),
            window(&[2, 2, 2], 2, pads(&[0; 3], &[0; 3]), false),
            average(true),
        ),
        (vec![0, 8, 8, 16], vec![16, 16, 3, 3], 1, one.clone(), window(&[2, 2], 2, none.clone(), false), PoolMode::Max),
    ];
    for (position, (sizes, weight, stride, padding, window, mode)) in cases.into_iter().enumerate() {
        let rank = sizes.len();
        let (front, last) = (Transpose::to_channels_first(rank), Transpose::to_channels_last(rank));
        let op = Convolution { padding, strides: vec![stride; rank - 2], ..Convolution::plain(rank - 2) };
        let pool =
            Pool { mode, window: Some(PoolWindow { dilations: vec![1 + position / 6 % 2; rank - 2], ..window }) };
        for residual in [false, true] {
            let about = format!("{sizes:?} with {weight:?} and {pool:?}, residual: {residual}");
            let [v, w] = [0, 1].map(|index| Expr::input(index, DataType::F32));
            let convolved = |parts: &mut Parts| {
                let x = parts.input(&sizes);
                let mut inputs = vec![parts.add(front.clone(), &[x]), parts.weight(&weight)];
                if !residual {
                    inputs.push(parts.weight(&weight[..1]));
                }
                let a = parts.add(op.clone(), &inputs);
                let a = parts.add(last.clone(), &[a]);
                let bound =
                    |e: Expr| Expr::into_pointwise(&[e.binary(ScalarOp::Max, &v.same(-0.5))]).expect("a program");
                if residual {
                    let sizes = parts.sizes(a);
                    let other = parts.input(&sizes);
                    parts.add(bound(&v + &w), &[a, other])
                } else {
                    parts.add(bound(v.clone()), &[a])
                }
            };
            let pooled = |parts: &mut Parts, a: ValueId| {
                let a = parts.add(front.clone(), &[a]);
                let a = parts.add(pool.clone(), &[a]);
                parts.add(last.clone(), &[a])
            };
            let mut parts = Parts::default();
            let a = convolved(&mut parts);
            let y = pooled(&mut parts, a);
            let found = agrees("cpu.conv.pooled.f32", &parts.finish(&[y]), &about);

            let mut parts = Parts::default();
            let a = convolved(&mut parts);
            let a = runs("cpu.conv.channels_last.f32", &parts.finish(&[a])).remove(0);
            let mut parts = Parts::default();
            let a = parts.operand(a);
            let y = pooled(&mut parts, a);
            let split = runs("cpu.pool.channels_last.f32", &parts.finish(&[y]));
            assert_eq!(bits(&found), bits(&split), "{about}: the split form has other bits");
        }
    }
}

/// A network with all three regions: the cover may take them, verification drops none, and the engine gives the results
/// of the reference executor.
#[test]
fn a_network_of_such_regions_is_verified() {
    let mut builder = NetworkBuilder::new();
    let image = |sizes: &[i64]| ValueType::tensor(DataType::F32, sizes.iter().map(|size| (*size).into()).collect());
    let here = Location::default();
    let x = builder.add_network_input("x", image(&[1, 3, 64, 64]), None);
    let v = builder.add_weight("v", numbers(&[32, 3, 3, 3], 1));
    let padding = Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] };
    let conv = Convolution { padding, ..Convolution::plain(2) };
    let a = builder.add(conv, &[Some(x), Some(v)], &here).expect("a convolution")[0];
    let [p, q] = [0, 1].map(|index| Expr::input(index, DataType::F32));
    let relu = Expr::into_pointwise(&[p.binary(ScalarOp::Max, &p.same(0.0))]).expect("a program");
    let a = builder.add(relu, &[Some(a)], &here).expect("an activation")[0];
    let window = PoolWindow { strides: vec![2, 2], ..PoolWindow::of(&[2, 2]) };
    let pool = Pool { mode: PoolMode::Max, window: Some(window) };
    let a = builder.add(pool, &[Some(a)], &here).expect("a pool")[0];
    let t = builder.add_network_input("t", image(&[1, 50, 64]), None);
    let n = Normalize { measure: Measure::RootMeanSquare, ..Normalize::deviation(vec![-1], 1e-5) };
    let n = builder.add(n, &[Some(t)], &here).expect("a norm")[0];
    let w = builder.add_weight("w", numbers(&[64, 96], 2));
    let b = builder.add(MatMul::default(), &[Some(n), Some(w)], &here).expect("a product")[0];
    let [g, u] = [3, 4].map(|seed| builder.add_weight(&format!("w{seed}"), numbers(&[96, 80], seed)));
    let [g, u] = [g, u].map(|w| builder.add(MatMul::default(), &[Some(b), Some(w)], &here).expect("a product")[0]);
    let gated = Expr::into_pointwise(&[&(&p * &p.unary(ScalarOp::Sigmoid)) * &q]).expect("a program");
    let c = builder.add(gated, &[Some(g), Some(u)], &here).expect("a gate")[0];
    let network = builder.finish("regions", &[("a".to_owned(), a), ("c".to_owned(), c)]);
    let built = build(&network, &Cpu, BuildOptions { threads: 2, ..BuildOptions::default() }).expect("a plan");
    assert!(built.verification.dropped.is_empty(), "{:?}", built.verification.dropped);
    assert_eq!(built.costs.solved, built.costs.emitted);
    let inputs = HashMap::from([
        ("x".to_owned(), Value::Tensor(numbers(&[1, 3, 64, 64], 5))),
        ("t".to_owned(), Value::Tensor(numbers(&[1, 50, 64], 6))),
    ]);
    let expected = run_with(&network, &inputs, &FastEvaluator).expect("the reference executor");
    let found = run_here(&built.plan, &inputs).expect("an engine");
    for (found, expected) in found.iter().zip(&expected) {
        compare(found, expected, Tolerance { relative: 1e-3, absolute: 1e-2 }).expect("agreement");
    }
    println!("{:?}", built.plan.tactics());
}
