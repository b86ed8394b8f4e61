//! Small networks of odd sizes, one for each kind of kernel and pass: tails of every vector, borders of every window,
//! ties, ends of ranges. `cargo xtask faults` builds them to test whether verification finds planted faults.

use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Dim, Location, Tensor, TensorType};
use sinter_interp::inputs::elements;
use sinter_ir::builder::Handle;
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::Op;
use sinter_ops::attention::Attention;
use sinter_ops::control::If;
use sinter_ops::conv::Convolution;
use sinter_ops::image::{Coordinates, Interpolation, NearestRounding, Resize};
use sinter_ops::index::{Gather, TopK};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Pad, PadMode, Reshape, Slice, Transpose};
use sinter_ops::norm::Normalize;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode, PoolWindow};
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::random::{Distribution, RandomFill};
use sinter_ops::recurrent::{Activation, Gru, Lstm, Recurrence};
use sinter_ops::reduce::{ArgReduce, Cumulative, Reduce, ReduceKind, Softmax};
use sinter_ops::window::Padding;

use crate::{control_networks, edge_networks};

const F32: DataType = DataType::F32;

/// A network as it grows.
#[derive(Default)]
pub(crate) struct Maker {
    pub(crate) builder: NetworkBuilder,
    /// Inputs and weights so far: names and streams of numbers follow from it.
    made: u64,
}

impl Maker {
    pub(crate) fn typed(&mut self, data_type: DataType, dims: Vec<Dim>) -> Handle {
        self.made += 1;
        let name = format!("x{}", self.made);
        self.builder.add_network_input(&name, TensorType::ranked(data_type, dims).into(), None)
    }

    pub(crate) fn input(&mut self, sizes: &[i64]) -> Handle {
        self.typed(F32, sizes.iter().map(|&size| size.into()).collect())
    }

    /// Normal numbers, made smaller as deep sums want them.
    pub(crate) fn weight(&mut self, sizes: &[usize]) -> Handle {
        self.scaled_weight(sizes, 0.25, 0.0)
    }

    fn scaled_weight(&mut self, sizes: &[usize], scale: f64, offset: f64) -> Handle {
        self.made += 1;
        let numbers = elements("weight", F32, None, 100 + self.made, sizes.iter().product());
        let numbers: Vec<f64> = numbers.into_iter().map(|v| v * scale + offset).collect();
        let name = format!("w{}", self.made);
        self.builder.add_weight(&name, Tensor::from_floats(F32, sizes, &numbers).expect("as many numbers as sizes say"))
    }

    fn positive_weight(&mut self, sizes: &[usize]) -> Handle {
        self.made += 1;
        let numbers = elements("weight", F32, None, 100 + self.made, sizes.iter().product());
        let numbers: Vec<f64> = numbers.into_iter().map(|v| v.abs() * 0.05 + 0.01).collect();
        self.builder.add_weight("scale", Tensor::from_floats(F32, sizes, &numbers).expect("as many numbers"))
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> Handle {
        self.builder.constant(Tensor::of_i64(values))
    }

    fn bytes(&mut self, values: Vec<i8>) -> Handle {
        self.builder.constant(Tensor::from_vec(&[values.len()], values).expect("one axis"))
    }

    pub(crate) fn all(&mut self, op: impl Into<Op>, inputs: &[Option<Handle>]) -> Vec<Handle> {
        self.builder.add(op, inputs, &Location::default()).expect("operands that fit").to_vec()
    }

    pub(crate) fn op(&mut self, op: impl Into<Op>, inputs: &[Handle]) -> Handle {
        let inputs: Vec<Option<Handle>> = inputs.iter().copied().map(Some).collect();
        self.all(op, &inputs)[0]
    }

    pub(crate) fn pointwise(&mut self, inputs: &[Handle], formula: impl Fn(&[Expr]) -> Expr) -> Handle {
        let operands: Vec<Expr> =
            inputs.iter().enumerate().map(|(i, id)| Expr::input(i, self.builder.ty(*id).data_type())).collect();
        let op = Expr::into_pointwise(&[formula(&operands)]).expect("a formula that types");
        self.op(op, inputs)
    }
}

pub(crate) fn named(name: &str, make: impl FnOnce(&mut Maker) -> Vec<Handle>) -> Network {
    let mut maker = Maker::default();
    let outputs = make(&mut maker);
    let outputs: Vec<(String, Handle)> = outputs.into_iter().enumerate().map(|(i, id)| (format!("y{i}"), id)).collect();
    maker.builder.finish(name, &outputs)
}

pub(crate) fn padded(spatial: usize, pad: i64, groups: usize) -> Convolution {
    let padding = Padding::Explicit { begin: vec![pad; spatial], end: vec![pad; spatial] };
    Convolution { padding, groups, ..Convolution::plain(spatial) }
}

pub(crate) fn softmax(axis: i64) -> Softmax {
    Softmax { axis, log: false }
}

pub(crate) fn permuted(order: &[usize]) -> Transpose {
    Transpose { permutation: Some(order.to_vec()) }
}

fn windows(mode: PoolMode) -> Pool {
    let padding = Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] };
    let window = PoolWindow { kernel: vec![3, 3], strides: vec![2, 2], dilations: vec![1, 1], padding, ceil: true };
    Pool { mode, window: Some(window) }
}

/// All networks, names in the order of the list.
pub fn networks() -> Vec<Network> {
    let mut all = products();
    all.extend(convolutions());
    all.extend(rows());
    all.extend(movements());
    all.extend(quantized());
    all.extend(recurrent());
    all.extend(rewritten());
    all.extend(whole());
    all.extend(control_networks::networks());
    all.extend(edge_networks::networks());
    all
}

fn products() -> Vec<Network> {
    let matmul = MatMul::default;
    vec![
        named("product", |m| {
            let (x, w) = (m.input(&[37, 53]), m.weight(&[53, 145]));
            vec![m.op(matmul(), &[x, w])]
        }),
        named("product-long", |m| {
            let (x, w) = (m.input(&[9, 1700]), m.weight(&[1700, 40]));
            vec![m.op(matmul(), &[x, w])]
        }),
        // The product needs the weight packed, and a later operator reads it unpacked.
        named("product-plus-weight", |m| {
            let (x, w) = (m.input(&[21, 21]), m.weight(&[21, 37]));
            let y = m.op(matmul(), &[x, w]);
            vec![m.pointwise(&[y, w], |v| &v[0] + &v[1])]
        }),
        named("product-bias", |m| {
            let (x, w, b) = (m.input(&[37, 53]), m.weight(&[53, 149]), m.weight(&[149]));
            let y = m.op(matmul(), &[x, w]);
            vec![m.pointwise(&[y, b], |v| (&v[0] + &v[1]).binary(ScalarOp::Max, &v[0].same(0.0)))]
        }),
        named("product-residual", |m| {
            let (x, w, r) = (m.input(&[3, 13, 53]), m.weight(&[53, 149]), m.input(&[3, 1, 1]));
            let y = m.op(matmul(), &[x, w]);
            vec![m.pointwise(&[r, y], |v| &v[0] - &v[1])]
        }),
        named("product-of-made-rows", |m| {
            let (x, gate, w) = (m.input(&[3, 43, 53]), m.input(&[3, 1, 53]), m.weight(&[53, 149]));
            let made = m.pointwise(&[x, gate], |v| &v[0] * &v[1]);
            vec![m.op(matmul(), &[made, w])]
        }),
        named("products-of-one", |m| {
            let (x, r) = (m.input(&[131, 53]), m.input(&[131, 149]));
            let (q, k, v) = (m.weight(&[53, 149]), m.weight(&[53, 150]), m.weight(&[53, 17]));
            let [q, k, v] = [q, k, v].map(|w| m.op(matmul(), &[x, w]));
            vec![m.pointwise(&[q, r], |v| &v[0] + &v[1]), k, v]
        }),
        named("product-given", |m| {
            let (a, b) = (m.input(&[2, 41, 53]), m.input(&[2, 53, 67]));
            vec![m.op(matmul(), &[a, b])]
        }),
        named("product-batch", |m| {
            let x = m.typed(F32, vec![Dim::symbol("N"), 53i64.into()]);
            let w = m.weight(&[53, 149]);
            vec![m.op(matmul(), &[x, w])]
        }),
        named("product-transposed", |m| {
            let (x, w) = (m.input(&[37, 53]), m.weight(&[53, 53]));
            let transposed = MatMul { transpose_a: false, transpose_b: true };
            vec![m.op(transposed, &[x, w])]
        }),
        named("attention", |m| {
            let [q, k, v] = [m.input(&[1, 3, 37, 16]), m.input(&[1, 3, 41, 16]), m.input(&[1, 3, 41, 24])];
            let mask = m.input(&[37, 41]);
            vec![m.op(Attention::default(), &[q, k, v, mask])]
        }),
        named("attention-causal", |m| {
            let [q, k, v] = [m.input(&[1, 3, 131, 16]), m.input(&[1, 3, 131, 16]), m.input(&[1, 3, 131, 16])];
            vec![m.op(Attention { causal: true, ..Attention::default() }, &[q, k, v])]
        }),
    ]
}

fn convolutions() -> Vec<Network> {
    let one = |name: &str, x: &[i64], w: &[usize], groups: usize, given: bool| {
        named(name, |m| {
            let x = m.input(x);
            let weight = if given {
                let sizes: Vec<i64> = w.iter().map(|&size| i64::try_from(size).unwrap_or(1)).collect();
                m.input(&sizes)
            } else {
                m.weight(w)
            };
            let bias = m.weight(&[w[0]]);
            vec![m.op(padded(2, 1, groups), &[x, weight, bias])]
        })
    };
    let pooled = |name: &str, mode: PoolMode| {
        named(name, |m| {
            let x = m.input(&[1, 5, 20, 23]);
            vec![m.op(windows(mode), &[x])]
        })
    };
    let pooled_last = |name: &str, mode: PoolMode| {
        named(name, |m| {
            let (x, w, v) = (m.input(&[1, 16, 24, 25]), m.weight(&[48, 16, 3, 3]), m.weight(&[16, 48, 3, 3]));
            let y = m.op(padded(2, 1, 1), &[x, w]);
            let y = m.op(windows(mode), &[y]);
            vec![m.op(padded(2, 1, 1), &[y, v])]
        })
    };
    vec![
        one("convolution", &[1, 16, 19, 23], &[21, 16, 3, 3], 1, false),
        one("convolution-groups", &[1, 32, 19, 23], &[22, 16, 3, 3], 2, false),
        one("convolution-given", &[1, 13, 19, 23], &[21, 13, 3, 3], 1, true),
        one("depthwise-given", &[1, 21, 19, 37], &[21, 1, 3, 3], 21, true),
        named("depthwise-between", |m| {
            let (x, w) = (m.input(&[1, 16, 19, 23]), m.weight(&[53, 16, 1, 1]));
            let (d, b, v) = (m.weight(&[53, 1, 3, 3]), m.weight(&[53]), m.weight(&[19, 53, 1, 1]));
            let y = m.op(padded(2, 0, 1), &[x, w]);
            let y = m.op(padded(2, 1, 53), &[y, d, b]);
            vec![m.op(padded(2, 0, 1), &[y, v])]
        }),
        named("convolution-few", |m| {
            let (x, w, b, v) =
                (m.input(&[1, 3, 31, 29]), m.weight(&[21, 3, 3, 3]), m.weight(&[21]), m.weight(&[64, 21, 3, 3]));
            let y = m.op(padded(2, 1, 1), &[x, w, b]);
            vec![m.op(padded(2, 1, 1), &[y, v]), y]
        }),
        // The last channel is a millionth of the others.
        named("convolution-unequal", |m| {
            let numbers = elements("weight", F32, None, 99, 21 * 16 * 9);
            let small = |(at, v): (usize, f64)| if at >= 20 * 16 * 9 { v * 1e-6 } else { v };
            let numbers: Vec<f64> = numbers.into_iter().enumerate().map(small).collect();
            let weight = Tensor::from_floats(F32, &[21, 16, 3, 3], &numbers).expect("as many numbers");
            let (x, w) = (m.input(&[1, 16, 19, 23]), m.builder.add_weight("unequal", weight));
            vec![m.op(padded(2, 1, 1), &[x, w])]
        }),
        named("convolution-residual", |m| {
            let (x, w, r) = (m.input(&[1, 16, 19, 23]), m.weight(&[16, 16, 3, 3]), m.weight(&[16, 16, 3, 3]));
            let y = m.op(padded(2, 1, 1), &[x, w]);
            let z = m.op(padded(2, 1, 1), &[y, r]);
            vec![m.pointwise(&[y, z], |v| (&v[0] - &v[1]).unary(ScalarOp::Tanh))]
        }),
        pooled("pool-average", PoolMode::Average { count_padding: false }),
        pooled("pool-padded", PoolMode::Average { count_padding: true }),
        pooled("pool-max", PoolMode::Max),
        pooled_last("pool-last", PoolMode::Max),
        pooled_last("pool-last-average", PoolMode::Average { count_padding: true }),
    ]
}

fn rows() -> Vec<Network> {
    let one = |name: &str, sizes: &[i64], op: Op| {
        named(name, |m| {
            let x = m.input(sizes);
            vec![m.op(op, &[x])]
        })
    };
    let of_integers = |name: &str, sizes: &[i64], op: Op| {
        named(name, |m| {
            let x = m.typed(DataType::I64, sizes.iter().map(|&size| size.into()).collect());
            vec![m.op(op, &[x])]
        })
    };
    let arg = ArgReduce { largest: true, axis: 1, keep_dims: false, select_last: false };
    vec![
        one("softmax", &[7, 131], softmax(-1).into()),
        one("softmax-columns", &[3, 37, 130], softmax(1).into()),
        one("normalize", &[11, 97], Normalize::deviation(vec![-1], 1e-5).into()),
        one("normalize-small", &[130, 7], Normalize::deviation(vec![-1], 1e-2).into()),
        one("normalize-planes", &[3, 130, 5], Normalize::deviation(vec![1], 1e-5).into()),
        of_integers("arg", &[150, 40], arg.into()),
        named("reduce", |m| {
            let (x, axes) = (m.input(&[130, 101]), m.ints(&[1]));
            vec![m.op(Reduce::new(ReduceKind::Mean, false), &[x, axes])]
        }),
        named("reduce-columns", |m| {
            let (x, axes) = (m.input(&[3, 37, 130]), m.ints(&[1]));
            vec![m.op(Reduce::new(ReduceKind::Max, true), &[x, axes])]
        }),
        named("cumulative", |m| {
            let (x, axis) = (m.input(&[7, 61]), m.builder.constant(Tensor::scalar(DataType::I64, 1.0)));
            vec![m.op(Cumulative { exclusive: true, ..Cumulative::default() }, &[x, axis])]
        }),
        named("top-k", |m| {
            let (x, k) = (m.typed(DataType::I64, vec![40i64.into(), 50i64.into()]), m.ints(&[20]));
            m.all(TopK { axis: -1, largest: true, sorted: true }, &[Some(x), Some(k)])
        }),
        named("broadcast", |m| {
            let (a, b) = (m.input(&[5, 1, 37]), m.input(&[11, 1]));
            vec![m.pointwise(&[a, b], |v| &v[0] - &v[1])]
        }),
        named("select", |m| {
            let (a, b) = (m.input(&[5, 301]), m.input(&[5, 301]));
            let less = |v: &[Expr]| v[0].binary(ScalarOp::Less, &v[1]);
            vec![m.pointwise(&[a, b], |v| less(v).select(&v[0], &v[1].unary(ScalarOp::Exp)))]
        }),
    ]
}

fn movements() -> Vec<Network> {
    let bordered = |name: &str, mode: PadMode| {
        named(name, |m| {
            let (x, pads) = (m.input(&[29, 131]), m.ints(&[0, 2, 0, 1]));
            vec![m.op(Pad { mode }, &[x, pads])]
        })
    };
    let resized = |name: &str, interpolation: Interpolation| {
        named(name, |m| {
            let (x, sizes) = (m.input(&[1, 1, 97, 99]), m.ints(&[1, 1, 210, 230]));
            m.all(Resize::plain(interpolation, Coordinates::HalfPixel), &[Some(x), None, None, Some(sizes)])
        })
    };
    vec![
        named("gather", |m| {
            let x = m.input(&[61, 7]);
            let mut picked: Vec<i64> = (0..150).map(|i| i * 7 % 61).collect();
            picked[77] = -61;
            let picked = m.ints(&picked);
            vec![m.op(Gather { axis: 0 }, &[x, picked])]
        }),
        named("gather-given", |m| {
            let (x, picked) = (m.input(&[61, 7]), m.typed(DataType::I64, vec![150i64.into()]));
            vec![m.op(Gather { axis: 0 }, &[x, picked])]
        }),
        named("slice", |m| {
            let x = m.input(&[17, 61]);
            let (starts, ends, axes, steps) =
                (m.ints(&[-1, 2]), m.ints(&[i64::MIN, i64::MAX]), m.ints(&[0, 1]), m.ints(&[-2, 3]));
            vec![m.op(Slice::default(), &[x, starts, ends, axes, steps])]
        }),
        named("concat", |m| {
            let parts = [m.input(&[5, 161]), m.input(&[5, 1]), m.input(&[5, 70])];
            vec![m.op(Concat { axis: 1 }, &parts)]
        }),
        named("transpose", |m| {
            let x = m.input(&[130, 3, 65]);
            vec![m.op(permuted(&[2, 1, 0]), &[x])]
        }),
        bordered("pad-edge", PadMode::Edge),
        bordered("pad-reflect", PadMode::Reflect),
        resized("resize", Interpolation::Linear { antialias: false }),
        resized("resize-nearest", Interpolation::Nearest { rounding: NearestRounding::PreferFloor }),
    ]
}

fn quantized() -> Vec<Network> {
    let to_bytes = |granularity| Quantize { data_type: DataType::I8, granularity, saturate: true, precision: F32 };
    let channels = 37usize;
    let zeros = |m: &mut Maker| m.bytes((0..37).map(|i| i * 3 - 50).collect());
    vec![
        named("quantize", |m| {
            let (x, scale, zero) = (m.input(&[29, 37]), m.positive_weight(&[channels]), zeros(m));
            vec![m.op(to_bytes(Granularity::Axis { axis: 1 }), &[x, scale, zero])]
        }),
        named("quantize-ties", |m| {
            let x = m.typed(DataType::I32, vec![29i64.into(), 37i64.into()]);
            let halves = m.pointwise(&[x], |v| &v[0].cast(F32) * &v[0].cast(F32).same(0.5));
            let scale = m.builder.constant(Tensor::scalar(F32, 1.0));
            vec![m.op(to_bytes(Granularity::Tensor), &[halves, scale])]
        }),
        named("quantize-saturated", |m| {
            let (x, scale) = (m.input(&[129, 37]), m.builder.constant(Tensor::scalar(F32, 0.02)));
            vec![m.op(to_bytes(Granularity::Tensor), &[x, scale])]
        }),
        named("dequantize", |m| {
            let x = m.typed(DataType::I8, vec![130i64.into(), 29i64.into()]);
            let (scale, zero) = (m.positive_weight(&[130]), m.bytes((0..130).map(|i| (i % 100 - 50) as i8).collect()));
            let op = Dequantize { data_type: F32, granularity: Granularity::Axis { axis: 0 } };
            vec![m.op(op, &[x, scale, zero])]
        }),
        named("dequantize-transposed", |m| {
            let x = m.typed(DataType::I8, vec![37i64.into(), 37i64.into()]);
            let (scale, zero) = (m.positive_weight(&[channels]), zeros(m));
            let op = Dequantize { data_type: F32, granularity: Granularity::Axis { axis: 0 } };
            let real = m.op(op, &[x, scale, zero]);
            vec![m.op(permuted(&[1, 0]), &[real])]
        }),
    ]
}

fn recurrent() -> Vec<Network> {
    let usual = Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh, Activation::Tanh]);
    let layer = |name: &str, op: Op, gates: usize, directions: usize| {
        named(name, |m| {
            let (x, h) = (m.input(&[9, 3, 7]), 13);
            let (w, r) = (m.weight(&[directions, gates * h, 7]), m.weight(&[directions, gates * h, h]));
            let b = m.weight(&[directions, 2 * gates * h]);
            m.all(op, &[Some(x), Some(w), Some(r), Some(b)])
        })
    };
    let gru = Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh]);
    vec![
        layer("lstm", Lstm { recurrence: usual.clone(), input_forget: false }.into(), 4, 1),
        layer("lstm-both", Lstm { recurrence: usual.both_ways(), input_forget: false }.into(), 4, 2),
        layer("gru", Gru { recurrence: gru, linear_before_reset: true }.into(), 3, 1),
    ]
}

/// Networks that passes rewrite.
fn rewritten() -> Vec<Network> {
    let mean = || Reduce::new(ReduceKind::Mean, true);
    vec![
        named("channel-scales", |m| {
            let (x, w) = (m.input(&[1, 16, 19, 23]), m.weight(&[128, 16, 3, 3]));
            let (s, c) = (m.scaled_weight(&[128, 1, 1], 0.3, 1.0), m.weight(&[128, 1, 1]));
            let b = m.weight(&[128]);
            let y = m.op(padded(2, 1, 1), &[x, w, b]);
            let y = m.pointwise(&[y, s], |v| &v[0] * &v[1]);
            vec![m.pointwise(&[y, c], |v| &v[0] - &v[1])]
        }),
        named("column-scales", |m| {
            let (x, w, s) = (m.input(&[37, 53]), m.weight(&[53, 53]), m.scaled_weight(&[53], 0.3, 1.0));
            let y = m.op(MatMul::default(), &[x, w]);
            vec![m.pointwise(&[y, s], |v| &v[0] * &v[1])]
        }),
        named("nearly-equal", |m| {
            let x = m.input(&[37, 37]);
            let (a, b) = (m.op(softmax(0), &[x]), m.op(softmax(1), &[x]));
            vec![m.pointwise(&[a, b], |v| &v[0] - &v[1])]
        }),
        named("transposes", |m| {
            let x = m.input(&[6, 6, 6]);
            let a = m.op(permuted(&[1, 2, 0]), &[x]);
            vec![m.op(permuted(&[0, 2, 1]), &[a])]
        }),
        named("transposed-product", |m| {
            let (x, w) = (m.input(&[4, 5, 5]), m.input(&[4, 5, 5]));
            let t = m.op(permuted(&[0, 2, 1]), &[x]);
            vec![m.op(MatMul::default(), &[t, w])]
        }),
        named("sunken-transposes", |m| {
            let (x, y) = (m.input(&[7, 7, 7]), m.input(&[7, 7, 7]));
            let (a, b) = (m.op(permuted(&[1, 0, 2]), &[x]), m.op(permuted(&[0, 2, 1]), &[y]));
            vec![m.pointwise(&[a, b], |v| &v[0] - &v[1])]
        }),
        named("reversed", |m| {
            let x = m.input(&[29, 37]);
            let [starts, ends, axes, steps] = [m.ints(&[-1]), m.ints(&[i64::MIN]), m.ints(&[1]), m.ints(&[-1])];
            vec![m.op(Slice::default(), &[x, starts, ends, axes, steps])]
        }),
        named("two-readers", |m| {
            let (x, w) = (m.input(&[37, 53]), m.weight(&[53, 149]));
            let y = m.op(MatMul::default(), &[x, w]);
            let z = m.pointwise(&[y], |v| v[0].unary(ScalarOp::Tanh));
            vec![z, m.op(softmax(1), &[y])]
        }),
        named("formula-norm", |m| {
            let (x, axes) = (m.input(&[130, 7]), m.ints(&[1]));
            let first = m.op(mean(), &[x, axes]);
            let d = m.pointwise(&[x, first], |v| &v[0] - &v[1]);
            let square = m.pointwise(&[d], |v| &v[0] * &v[0]);
            let second = m.op(mean(), &[square, axes]);
            let root = m.pointwise(&[second], |v| (&v[0] + &v[0].same(0.01)).unary(ScalarOp::Sqrt));
            vec![m.pointwise(&[d, root], |v| &v[0] / &v[1])]
        }),
        named("formula-attention", |m| {
            let [q, k, v] = [m.input(&[1, 2, 9, 16]), m.input(&[1, 2, 9, 16]), m.input(&[1, 2, 9, 16])];
            let mask = m.input(&[9, 9]);
            let k = m.op(permuted(&[0, 1, 3, 2]), &[k]);
            let scores = m.op(MatMul::default(), &[q, k]);
            let scores = m.pointwise(&[scores], |v| &v[0] * &v[0].same(0.3));
            let scores = m.pointwise(&[scores], |v| &v[0] / &v[0].same(0.7));
            let scores = m.pointwise(&[scores, mask], |v| &v[0] + &v[1]);
            let weights = m.op(softmax(-1), &[scores]);
            vec![m.op(MatMul::default(), &[weights, v])]
        }),
        named("cancelled", |m| {
            let x = m.input(&[29, 37]);
            let shifted = m.pointwise(&[x], |v| &v[0] - &v[0].same(1.0));
            let once = m.pointwise(&[shifted], |v| &v[0] * &v[0].same(2.0));
            let shape = m.ints(&[37, 29]);
            vec![m.op(Reshape::default(), &[once, shape])]
        }),
        named("random", |m| {
            let distribution = Distribution::Uniform { low: 0.0, high: 1.0 };
            let stream = m.builder.next_stream();
            let (x, shape) = (m.input(&[29, 37]), m.ints(&[29, 37]));
            let op = RandomFill { distribution, data_type: F32, seed: None, stream };
            let noise = m.op(op, &[shape]);
            vec![m.pointwise(&[x, noise], |v| &v[0] + &v[1])]
        }),
    ]
}

/// Networks whose faults appear only when a plan runs as a whole.
fn whole() -> Vec<Network> {
    vec![
        named("long-lived", |m| {
            let x = m.input(&[37, 37]);
            let a = m.op(softmax(0), &[x]);
            let b = m.op(permuted(&[1, 0]), &[a]);
            let c = m.op(softmax(1), &[b]);
            let d = m.op(permuted(&[1, 0]), &[c]);
            let e = m.op(softmax(1), &[d]);
            vec![m.pointwise(&[a, e], |v| &v[0] - &v[1])]
        }),
        named("read-later", |m| {
            let x = m.input(&[37, 37]);
            let a = m.op(softmax(0), &[x]);
            let b = m.op(softmax(1), &[a]);
            vec![m.pointwise(&[a, b], |v| &v[0] - &v[1])]
        }),
        named("two-products", |m| {
            let (x, w, v) = (m.input(&[37, 53]), m.weight(&[53, 53]), m.weight(&[53, 53]));
            let y = m.op(MatMul::default(), &[x, w]);
            vec![m.op(MatMul::default(), &[y, v])]
        }),
        named("two-results", |m| {
            let (x, w) = (m.input(&[37, 53]), m.weight(&[53, 53]));
            let y = m.op(MatMul::default(), &[x, w]);
            let tail = m.pointwise(&[y], |v| v[0].binary(ScalarOp::Max, &Expr::constant(DataType::F32, 0.5)));
            vec![y, m.op(softmax(1), &[tail])]
        }),
        named("epilogue-difference", |m| {
            let (x, w, r) = (m.input(&[37, 53]), m.weight(&[53, 53]), m.input(&[37, 53]));
            let y = m.op(MatMul::default(), &[x, w]);
            vec![m.pointwise(&[r, y], |v| &v[0] - &v[1])]
        }),
        named("convolution-map", |m| {
            let (x, w, map) = (m.input(&[1, 16, 16, 16]), m.weight(&[16, 16, 3, 3]), m.weight(&[16, 16, 16]));
            let y = m.op(padded(2, 1, 1), &[x, w]);
            vec![m.pointwise(&[y, map], |v| &v[0] * &v[1].unary(ScalarOp::Tanh))]
        }),
        named("branches", |m| {
            let (condition, x) = (m.typed(DataType::Bool, vec![]), m.input(&[29, 37]));
            let scope = |m: &mut Maker, op: ScalarOp| {
                m.builder.open_scope();
                let y = m.pointwise(&[x], |v| v[0].unary(op));
                m.builder.close_scope(&[y])
            };
            let (then, otherwise) = (scope(m, ScalarOp::Tanh), scope(m, ScalarOp::Exp));
            let inputs: Vec<Option<Handle>> = std::iter::once(condition)
                .chain(then.captures.iter().copied())
                .chain(otherwise.captures.iter().copied())
                .map(Some)
                .collect();
            m.all(If { then_branch: then.body, else_branch: otherwise.body }, &inputs)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct() {
        let all = networks();
        let names: HashSet<&str> = all.iter().map(|network| network.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
    }
}
