//! Small networks in which a fault appears only in an edge case: at sizes that differ, at the ends of a type, at NaN,
//! after an operator that quantizes, or in rows of a larger buffer.

use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Dim, Tensor};
use sinter_ir::Network;
use sinter_ir::builder::Handle;
use sinter_ops::attention::Attention;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Reshape, Shape, Unsqueeze};
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::recurrent::{Activation, Lstm, Recurrence};
use sinter_ops::signal::Dft;

use crate::odd_networks::{Maker, named, permuted, softmax};

const F32: DataType = DataType::F32;

fn scale(m: &mut Maker, scale: f64) -> Handle {
    m.builder.constant(Tensor::scalar(F32, scale))
}

fn to_bytes(data_type: DataType) -> Quantize {
    Quantize { data_type, granularity: Granularity::Tensor, saturate: true, precision: F32 }
}

fn to_reals() -> Dequantize {
    Dequantize { data_type: F32, granularity: Granularity::Tensor }
}

/// Every seventh number is none.
fn with_holes(m: &mut Maker, sizes: &[usize]) -> Handle {
    let count: usize = sizes.iter().product();
    let number = |at: usize| if at % 7 == 3 { f32::NAN } else { (at as f32 * 0.37).sin() };
    let tensor = Tensor::from_vec(sizes, (0..count).map(number).collect()).expect("as many numbers as sizes say");
    m.builder.add_weight("holes", tensor)
}

/// All of them.
pub(crate) fn networks() -> Vec<Network> {
    let scaled = |name: &str, data_type: DataType| {
        named(name, |m| {
            let x = m.typed(data_type, vec![29i64.into(), 37i64.into()]);
            vec![m.pointwise(&[x], |v| &v[0] * &v[0].same(0.75))]
        })
    };
    vec![
        named("unsqueezed", |m| {
            let x = m.typed(F32, vec![Dim::symbol("N"), Dim::symbol("T")]);
            let axis = m.ints(&[0]);
            let y = m.op(Unsqueeze {}, &[x, axis]);
            // As many rows as there were columns: both sizes are open, and neither stands where it stood.
            let (columns, rest) = (m.op(Shape { start: 1, end: None }, &[x]), m.ints(&[-1]));
            let sizes = m.op(Concat { axis: 0 }, &[columns, rest]);
            let turned = m.op(Reshape::default(), &[x, sizes]);
            vec![m.pointwise(&[y], |v| &v[0] * &v[0]), m.pointwise(&[turned], |v| &v[0] + &v[0])]
        }),
        scaled("half", DataType::F16),
        scaled("bfloat", DataType::Bf16),
        named("holes-clamped", |m| {
            let (x, holes) = (m.input(&[29, 37]), with_holes(m, &[37]));
            vec![m.pointwise(&[x, holes], |v| (&v[0] * &v[1]).binary(ScalarOp::Max, &v[0].same(0.0)))]
        }),
        named("holes-quantized", |m| {
            let (x, holes, by) = (m.input(&[29, 37]), with_holes(m, &[37]), scale(m, 0.02));
            let sum = m.pointwise(&[x, holes], |v| &v[0] + &v[1]);
            let zero = m.builder.constant(Tensor::from_ints(DataType::U8, &[], &[100]).expect("one number"));
            vec![m.op(to_bytes(DataType::U8), &[sum, by, zero])]
        }),
        named("dequantize-lowest", |m| {
            let (x, by) = (m.typed(DataType::I8, vec![29i64.into(), 37i64.into()]), scale(m, 0.02));
            vec![m.op(to_reals(), &[x, by])]
        }),
        named("dequantize-highest", |m| {
            let (x, by) = (m.typed(DataType::U8, vec![29i64.into(), 37i64.into()]), scale(m, 0.02));
            let zero = m.builder.constant(Tensor::from_ints(DataType::U8, &[], &[128]).expect("one number"));
            vec![m.op(to_reals(), &[x, by, zero])]
        }),
        named("swish-quantized", |m| {
            let (x, by) = (m.input(&[29, 37]), scale(m, 0.02));
            let gate = m.pointwise(&[x], |v| v[0].unary(ScalarOp::Sigmoid));
            let swish = m.pointwise(&[x, gate], |v| &v[0] * &v[1]);
            let stored = m.op(to_bytes(DataType::I8), &[swish, by]);
            vec![m.op(to_reals(), &[stored, by])]
        }),
        // The whole plan rounds to 8 bits as each of its steps does.
        named("transform-8-bit", |m| {
            let x = m.typed(DataType::F8E4M3FN, [2i64, 16, 1].map(Dim::from).to_vec());
            vec![m.op(Dft { inverse: false, onesided: false }, &[x])]
        }),
        // Both halves are written where the whole has them.
        named("halves-joined", |m| {
            let (x, y) = (m.input(&[64, 48]), m.input(&[64, 80]));
            let a = m.pointwise(&[x], |v| v[0].unary(ScalarOp::Tanh));
            let b = m.pointwise(&[y], |v| v[0].unary(ScalarOp::Exp));
            let joined = m.op(Concat { axis: 1 }, &[a, b]);
            vec![m.op(softmax(1), &[joined])]
        }),
        // The product needs the weight packed, and the epilogue reads it unpacked.
        named("dequantized-beside-weight", |m| {
            let (x, by, w) =
                (m.typed(DataType::U8, [2i64, 13, 13].map(Dim::from).to_vec()), scale(m, 0.02), m.weight(&[13, 13]));
            let x = m.op(to_reals(), &[x, by]);
            let product = m.op(MatMul::default(), &[x, w]);
            vec![m.pointwise(&[w, product], |v| v[0].binary(ScalarOp::Max, &v[1]))]
        }),
        // A device that cannot transpose bytes converts no value to channels last.
        named("bytes-channels-last", |m| {
            let x = m.typed(DataType::U8, [2i64, 3, 5, 7].map(Dim::from).to_vec());
            let last = m.op(permuted(&[0, 2, 3, 1]), &[x]);
            vec![m.pointwise(&[last], |v| v[0].cast(F32).unary(ScalarOp::Sqrt))]
        }),
        // A sum over no keys is 0.
        named("attention-without-keys", |m| {
            let [q, k, v] = [[1, 2, 3, 8], [1, 2, 0, 8], [1, 2, 0, 8]].map(|sizes| m.input(&sizes));
            vec![m.op(Attention::default(), &[q, k, v])]
        }),
        // On a device without recurrences, copies of the states cannot be written into the result.
        named("states-joined", |m| {
            let (x, w, r) = (m.input(&[9, 3, 7]), m.weight(&[1, 20, 7]), m.weight(&[1, 20, 5]));
            let activations = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
            let op = Lstm { recurrence: Recurrence::forward(&activations), input_forget: false };
            let states = m.all(op, &[Some(x), Some(w), Some(r)]);
            vec![m.op(Concat { axis: 0 }, &states[1..])]
        }),
    ]
}
