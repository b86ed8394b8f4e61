//! Random small networks compute the same after the passes as before.

use std::collections::HashMap;

use proptest::prelude::*;
use sinter_base::{DataType, Dim, Location, Tensor, Value, ValueType};
use sinter_interp::run;
use sinter_ir::{Handle, Network, NetworkBuilder};
use sinter_ops::Op;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Expand, Reshape, Transpose, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::reduce::{Reduce, ReduceKind, Softmax};
use sinter_passes::{PassOptions, optimize};
use sinter_testkit::Random;

/// One step of a recipe for a network: an operation and where its operands come from.
type Step = (u8, usize, usize);

struct Recipe {
    builder: NetworkBuilder,
    /// Values of shape [N, 3, 3].
    values: Vec<Handle>,
}

impl Recipe {
    fn add(&mut self, op: impl Into<Op>, inputs: &[Handle]) -> Handle {
        let inputs: Vec<Option<Handle>> = inputs.iter().copied().map(Some).collect();
        self.builder.add(op, &inputs, &Location::of_node("Step", "step")).expect("fitting operands")[0]
    }

    fn pointwise(&mut self, inputs: &[Handle], f: impl Fn(&[Expr]) -> Expr) -> Handle {
        let operands: Vec<Expr> = (0..inputs.len()).map(|i| Expr::input(i, DataType::F32)).collect();
        self.add(Expr::into_pointwise(&[f(&operands)]).expect("well-typed expressions"), inputs)
    }

    fn list(&mut self, values: &[i64]) -> Handle {
        self.builder.constant(Tensor::of_i64(values))
    }

    fn step(&mut self, (what, a, b): Step) {
        let (x, y) = (self.values[a % self.values.len()], self.values[b % self.values.len()]);
        let swap = || Transpose { permutation: Some(vec![0, 2, 1]) };
        let next = match what {
            0 => self.pointwise(&[x, y], |v| &v[0] + &v[1]),
            1 => self.pointwise(&[x, y], |v| &v[0] * &v[1]),
            2 => self.pointwise(&[x], |v| &v[0] * &v[0].unary(ScalarOp::Sigmoid)),
            3 => {
                let half = self.pointwise(&[x], |v| (&v[0] / std::f64::consts::SQRT_2).unary(ScalarOp::Erf));
                let one = self.pointwise(&[half], |v| &v[0] + 1.0);
                let product = self.pointwise(&[x, one], |v| &v[0] * &v[1]);
                self.pointwise(&[product], |v| &v[0] * 0.5)
            }
            4 => self.add(swap(), &[x]),
            5 => {
                let flat = self.list(&[0, 9]);
                let back = self.list(&[0, 3, 3]);
                let flat = self.add(Reshape::default(), &[x, flat]);
                self.add(Reshape::default(), &[flat, back])
            }
            6 => {
                let (axis, epsilon) = (self.list(&[-1]), 1e-3);
                let mean = self.add(Reduce::new(ReduceKind::Mean, true), &[x, axis]);
                let deviation = self.pointwise(&[x, mean], |v| &v[0] - &v[1]);
                let square = self.pointwise(&[deviation], |v| v[0].binary(ScalarOp::Pow, &v[0].same(2.0)));
                let variance = self.add(Reduce::new(ReduceKind::Mean, true), &[square, axis]);
                let root = self.pointwise(&[variance], |v| (&v[0] + epsilon).unary(ScalarOp::Sqrt));
                self.pointwise(&[deviation, root], |v| &v[0] / &v[1])
            }
            7 => {
                let keys = self.add(swap(), &[y]);
                let scores = self.add(MatMul::default(), &[x, keys]);
                let scaled = self.pointwise(&[scores], |v| &v[0] * 0.5);
                let weights = self.add(Softmax { axis: -1, log: false }, &[scaled]);
                self.add(MatMul::default(), &[weights, x])
            }
            8 => {
                let weight = self.builder.add_weight("w", random(&[3, 3], a as u64 + 7));
                let scale = self.builder.add_weight("s", random(&[3], b as u64 + 9));
                let product = self.add(MatMul::default(), &[x, weight]);
                self.pointwise(&[product, scale], |v| &v[0] * &v[1])
            }
            9 => {
                let row = self.builder.add_weight("row", random(&[3], b as u64));
                let axes = self.list(&[0]);
                let column = self.add(Unsqueeze::default(), &[row, axes]);
                let target = self.list(&[3, 3]);
                let whole = self.add(Expand::default(), &[column, target]);
                self.pointwise(&[x, whole], |v| &v[0] - &v[1])
            }
            10 => {
                let (x, y) = (self.add(swap(), &[x]), self.add(swap(), &[y]));
                let sum = self.pointwise(&[x, y], |v| v[0].binary(ScalarOp::Max, &v[1]));
                self.add(swap(), &[sum])
            }
            _ => self.pointwise(&[x], |v| v[0].cast(DataType::F64).unary(ScalarOp::Tanh).cast(DataType::F32)),
        };
        self.values.push(next);
    }
}

fn random(sizes: &[usize], seed: u64) -> Tensor {
    let count: usize = sizes.iter().product();
    let mut random = Random(seed);
    let values: Vec<f64> = (0..count).map(|_| (random.bits() >> 40) as f64 / f64::from(1u32 << 23) - 1.0).collect();
    Tensor::from_floats(DataType::F32, sizes, &values).expect("as many values as elements")
}

fn network(steps: &[Step], results: usize) -> Network {
    let mut builder = NetworkBuilder::new();
    let ty = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), 3i64.into(), 3i64.into()]);
    let values = ["x", "y"].map(|name| builder.add_network_input(name, ty.clone(), None)).into_iter().collect();
    let mut recipe = Recipe { builder, values };
    for step in steps {
        recipe.step(*step);
    }
    let Recipe { builder, values } = recipe;
    let outputs: Vec<(String, Handle)> =
        values.iter().rev().take(results).enumerate().map(|(i, v)| (format!("y{i}"), *v)).collect();
    builder.finish("random", &outputs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn passes_keep_results(
        steps in proptest::collection::vec((0u8..12, 0usize..16, 0usize..16), 1..14),
        results in 1usize..4,
        batch in 1usize..3,
    ) {
        let network = network(&steps, results);
        let optimized = optimize(network.clone(), PassOptions::default()).expect("the passes run");
        let inputs: HashMap<String, Value> = ["x", "y"]
            .iter()
            .enumerate()
            .map(|(i, name)| ((*name).to_owned(), Value::Tensor(random(&[batch, 3, 3], i as u64 + 1))))
            .collect();
        let before = run(&network, &inputs).expect("the network runs");
        let after = run(&optimized.network, &inputs).expect("the optimized network runs");
        for (before, after) in before.iter().zip(&after) {
            let (Value::Tensor(a), Value::Tensor(b)) = (before, after) else { panic!("tensors expected") };
            prop_assert_eq!(a.sizes(), b.sizes());
            let (a, b) = (a.to_floats(), b.to_floats());
            let largest = a.iter().fold(1f64, |m, v| m.max(v.abs()));
            for (a, b) in a.iter().zip(&b) {
                // Chains of products amplify roundings of float32.
                prop_assert!((a - b).abs() <= 1e-3 * largest || a == b, "{} became {}\n{}", a, b, optimized.network);
            }
        }
    }
}
