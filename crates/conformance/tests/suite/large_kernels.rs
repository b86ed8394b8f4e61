//! Kernels at sizes that the catalog's examples do not reach: more elements than a warp, a block, a segment or a part takes.

use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Tensor};
use sinter_conformance::kernels::gpu;
use sinter_conformance::other_types::problem;
use sinter_cpu::Cpu;
use sinter_ops::Example;
use sinter_ops::attention::scaled_dot_product::ScoreStage;
use sinter_ops::attention::{Attention, FullyMasked};
use sinter_ops::detection::NonMaxSuppression;
use sinter_ops::image::Resize;
use sinter_ops::image::resize_axis::{Coordinates, Interpolation};
use sinter_ops::index::{NonZero, ScatterElements, ScatterNd, ScatterReduction, TopK, Unique};
use sinter_ops::matmul::Determinant;
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::random::{Distribution, RandomFill};
use sinter_ops::recurrent::{Activation, Gru, Lstm, Recurrence};
use sinter_ops::reduce::{Cumulative, Reduce, ReduceKind, Softmax};
use sinter_ops::signal::Dft;

use crate::kernels::{agree_with_the_reference, compile_all};

const BF16: DataType = DataType::Bf16;
const F16: DataType = DataType::F16;
const F32: DataType = DataType::F32;
const I32: DataType = DataType::I32;
const I64: DataType = DataType::I64;

fn sorting() -> Vec<Example> {
    let top = |axis, largest| TopK { axis, largest, sorted: true };
    let unique = |axis, sorted| Unique { axis, sorted };
    let boxes = NonMaxSuppression { centered: true };
    let number = |v: f32| Tensor::from_vec(&[1], vec![v]).expect("one element");
    vec![
        Example::new("long lines", top(1, true)).float(&[3, 5000]).ints(&[9]),
        Example::new("many equal ones", top(-1, false)).uniform(I32, &[2, 3, 1500], -9.0, 9.0).ints(&[1500]),
        Example::new("outer axis", top(0, true)).uniform(F16, &[2049, 3], -1.0, 1.0).ints(&[2049]),
        Example::new("sorted", unique(None, true)).uniform(I32, &[60, 70], -500.0, 500.0),
        Example::new("by occurrence", unique(None, false)).uniform(I64, &[5000], -700.0, 700.0),
        Example::new("slices", unique(Some(1), false)).uniform(I32, &[2, 3000, 2], 0.0, 4.0),
        Example::new("some", NonZero::default()).uniform(I32, &[70, 3, 90], -1.0, 1.0),
        Example::new("boxes", boxes)
            .uniform(F32, &[2, 1300, 4], 0.05, 0.9)
            .uniform(F32, &[2, 3, 1300], 0.0, 1.0)
            .ints(&[70])
            .tensor(number(0.4))
            .tensor(number(0.1)),
    ]
}

fn combining() -> Vec<Example> {
    let scatter = |reduction| ScatterElements { axis: 0, reduction };
    let places = |example: Example, count: usize, most: f64| example.uniform(I64, &[count], -most, most - 1.0);
    let reduce = |kind| Reduce::new(kind, false);
    let running = Cumulative { reverse: true, exclusive: true, product: false };
    vec![
        places(Example::new("replace", scatter(ScatterReduction::None)).float(&[90]), 5000, 90.0).float(&[5000]),
        places(Example::new("add", scatter(ScatterReduction::Add)).float(&[90]), 3000, 90.0).uniform(
            F32,
            &[3000],
            0.5,
            1.0,
        ),
        places(Example::new("largest half", scatter(ScatterReduction::Max)).uniform(F16, &[90], -9.0, 9.0), 3000, 90.0)
            .uniform(F16, &[3000], -99.0, 99.0),
        Example::new("slices", ScatterNd { reduction: ScatterReduction::Add })
            .uniform(F16, &[40, 3], -1.0, 1.0)
            .uniform(I64, &[700, 1], -40.0, 39.0)
            .uniform(F16, &[700, 3], 0.5, 1.0),
        Example::new("everything", reduce(ReduceKind::Sum)).uniform(F32, &[200_000], 0.5, 1.0),
        Example::new("two groups", reduce(ReduceKind::Mean)).uniform(F16, &[2, 90_000], 0.5, 1.0).ints(&[1]),
        Example::new("powers", reduce(ReduceKind::LogSumExp)).uniform(F32, &[70_001, 2], -9.0, 9.0).ints(&[0]),
        Example::new("least", reduce(ReduceKind::Min)).uniform(I32, &[100_003], -1e9, 1e9),
        Example::new("roots", reduce(ReduceKind::L2)).uniform(I32, &[3, 500], -90.0, 90.0).ints(&[1]),
        Example::new("long rows", Softmax { axis: -1, log: false }).float(&[3, 5000]),
        Example::new("running", Cumulative::default()).uniform(F32, &[3, 999], 0.5, 1.0).ints(&[1]),
        Example::new("running back", running).uniform(I32, &[2, 3, 333], -9.0, 9.0).ints(&[-1]),
        Example::new("running beside each other", Cumulative::default()).uniform(F32, &[70, 65], 0.5, 1.0).ints(&[0]),
        Example::new("transform", Dft::default()).float(&[2, 300, 3, 2]),
        Example::new("elimination", Determinant::default()).float(&[2, 20, 20]),
    ]
}

fn networks() -> Vec<Example> {
    let causal = Attention { causal: true, scores: ScoreStage::Weights, ..Attention::default() };
    let long = Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh, Activation::Tanh]).both_ways();
    let gated = Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh]);
    let lengths = |example: Example, values: &[i32]| {
        example.tensor(Tensor::from_vec(&[values.len()], values.to_vec()).expect("as many lengths"))
    };
    let gru = |name, linear_before_reset| {
        let op = Gru { recurrence: gated.clone(), linear_before_reset };
        Example::new(name, op).float(&[9, 3, 50]).float(&[1, 120, 50]).float(&[1, 120, 40])
    };
    let linear = |antialias| Resize::plain(Interpolation::Linear { antialias }, Coordinates::HalfPixel);
    let sized = |name, op: Resize, sizes: &[usize], asked: &[i64]| {
        Example::new(name, op).float(sizes).absent().absent().ints(asked)
    };
    let blocks = Granularity::Block { axis: 0, size: 32 };
    vec![
        Example::new("many keys", causal).float(&[1, 4, 70, 16]).float(&[1, 2, 600, 16]).float(&[1, 2, 600, 24]),
        Example::new("wide values", Attention::default())
            .float(&[1, 1, 2, 8])
            .float(&[1, 1, 300, 8])
            .float(&[1, 1, 300, 1100]),
        lengths(
            Example::new("both ways", Lstm { recurrence: long, input_forget: false })
                .float(&[7, 3, 50])
                .float(&[2, 160, 50])
                .float(&[2, 160, 40])
                .absent(),
            &[7, 0, 3],
        ),
        gru("reset before", false),
        gru("reset behind", true),
        sized("three axes", linear(false), &[1, 4, 5, 6], &[1, 7, 9, 4]),
        sized("four axes", linear(true), &[3, 4, 5, 6], &[5, 7, 3, 2]),
        Example::new("blocks", Quantize { granularity: blocks, ..Quantize::plain(DataType::U8) })
            .uniform(F32, &[100, 30], -300.0, 300.0)
            .uniform(F32, &[4, 30], 0.25, 3.0)
            .uniform(DataType::U8, &[4, 30], 100.0, 150.0),
        Example::new("blocks of four bits", Dequantize { data_type: F16, granularity: blocks })
            .uniform(DataType::I4, &[100, 30], -8.0, 7.0)
            .uniform(F16, &[4, 30], 0.1, 1.0),
        Example::new(
            "normal",
            RandomFill {
                distribution: Distribution::Normal { mean: 0.5, scale: 2.0 },
                data_type: F32,
                seed: Some(7),
                stream: 3,
            },
        )
        .ints(&[33, 31]),
    ]
}

/// Attention of 16-bit floats, beyond one tile of tensor cores along every axis.
fn halves() -> Vec<Example> {
    let plain = Attention::default();
    let causal = Attention { causal: true, ..plain.clone() };
    let rows = Attention { query_heads: Some(3), key_heads: Some(3), ..plain.clone() };
    let zero = Attention { fully_masked: FullyMasked::Zero, ..plain.clone() };
    let wide = |example: Example, data_type, sizes: [&[usize]; 3]| {
        sizes.into_iter().fold(example, |example, sizes| example.uniform(data_type, sizes, -1.0, 1.0))
    };
    let one = |name, op, data_type, sizes: &[usize]| wide(Example::new(name, op), data_type, [sizes; 3]);
    let (q, kv): (&[usize], &[usize]) = (&[1, 8, 2, 64], &[1, 2, 700, 64]);
    vec![
        one("halves", plain.clone(), F16, &[1, 2, 200, 64]),
        one("causal halves", causal, BF16, &[1, 2, 210, 128]),
        one("heads inside of rows", rows, F16, &[2, 136, 120]).uniform(F16, &[2, 1, 1, 136], -2.0, 2.0),
        one("a mask for each query", plain.clone(), F16, &[1, 2, 144, 64]).uniform(F16, &[144, 144], -2.0, 2.0),
        one("rows that are not aligned", plain.clone(), BF16, &[1, 2, 77, 33]),
        wide(Example::new("few queries of many keys", plain), F16, [q, kv, kv]),
        one("numbers of keys", zero, F16, &[2, 1, 150, 64]).absent().absent().absent().ints(&[130, 0]),
    ]
}

fn examples() -> Vec<Example> {
    let examples = [sorting(), combining(), networks(), halves()].concat();
    let refused = examples.iter().find(|example| problem(example, 0).is_empty());
    assert!(refused.is_none(), "'{}' does not infer", refused.map_or("", |example| example.name));
    examples
}

#[test]
fn large_kernels_of_the_processor_agree_with_the_reference() {
    agree_with_the_reference(&Cpu, &examples(), problem, 1);
}

#[test]
fn large_kernels_of_the_gpu_agree_with_the_reference() {
    let Some(gpu) = gpu() else { return };
    compile_all(&gpu, &examples(), problem);
    agree_with_the_reference(&gpu, &examples(), problem, 2);
}
