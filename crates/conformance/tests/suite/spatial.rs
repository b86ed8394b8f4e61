//! Random problems of the spatial operators, of normalization and of quantization: attributes and element types that no
//! example combines, through every CPU tactic that takes them, against the reference.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sinter_backend::{BackEnd, Numerics};
use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Tensor};
use sinter_conformance::kernels::{offers, region_of, run_kernel};
use sinter_cpu::Cpu;
use sinter_interp::{Tolerance, compare};
use sinter_ops::conv::{Convolution, Deconvolution};
use sinter_ops::image::{
    AspectRatio, Coordinates, GridInterpolation, GridPadding, GridSample, Interpolation, NearestRounding, Resize,
};
use sinter_ops::norm::{Measure, Normalize};
use sinter_ops::pool::{MaxPoolWithIndices, Pool, PoolMode, PoolWindow};
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::window::Padding;
use sinter_ops::{Arguments, EvalContext, Example, ReferenceEvaluator};

/// Problems of each kind.
const PROBLEMS: u64 = 400;

/// splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() - 1)].clone()
    }

    fn list(&mut self, length: usize, low: usize, high: usize) -> Vec<usize> {
        (0..length).map(|_| self.between(low, high)).collect()
    }

    fn padding(&mut self, axes: usize) -> Padding {
        let mut pads = || self.list(axes, 0, 3).into_iter().map(|pad| pad as i64 - 1).collect();
        let explicit = Padding::Explicit { begin: pads(), end: pads() };
        self.of(&[explicit.clone(), explicit, Padding::Valid, Padding::SameUpper, Padding::SameLower])
    }
}

const FLOATS: &[DataType] = &[DataType::F32, DataType::F32, DataType::F64, DataType::F16, DataType::Bf16];

fn window(random: &mut Random, axes: usize) -> PoolWindow {
    PoolWindow {
        kernel: random.list(axes, 1, 3),
        strides: random.list(axes, 1, 3),
        dilations: random.list(axes, 1, 2),
        padding: random.padding(axes),
        ceil: random.flip(),
    }
}

fn pool(random: &mut Random) -> Example {
    let axes = random.between(0, 3);
    let integers = [DataType::U8, DataType::I8, DataType::I32, DataType::U64, DataType::I4];
    let data_type = if random.flip() { random.of(FLOATS) } else { random.of(&integers) };
    let mut modes = vec![PoolMode::Max, PoolMode::Average { count_padding: random.flip() }];
    if data_type.is_float() {
        // The norm of integers is truncated, which the last bit of a root decides.
        modes.push(PoolMode::Norm { order: random.of(&[1.0, 2.0, 3.0]) });
    }
    let windowed = random.between(0, 4) > 0;
    let op = Pool { mode: random.of(&modes), window: windowed.then(|| window(random, axes)) };
    let mut sizes = random.list(2, 1, 3);
    sizes.extend(random.list(axes, 1, 9));
    let low = if data_type.is_unsigned_integer() { 0.0 } else { -7.0 };
    Example::new("pool", op).uniform(data_type, &sizes, low, 7.0)
}

fn pool_with_indices(random: &mut Random) -> Example {
    let axes = random.between(1, 3);
    let op = MaxPoolWithIndices { window: window(random, axes), column_major: random.flip() };
    let mut sizes = random.list(2, 1, 3);
    sizes.extend(random.list(axes, 1, 9));
    let data_type = random.of(&[DataType::F32, DataType::F16, DataType::U8, DataType::I16, DataType::U64]);
    // Few values, so that the largest comes more than once.
    Example::new("pool with indices", op).uniform(data_type, &sizes, 0.0, 3.0)
}

fn depthwise(random: &mut Random) -> Example {
    let axes = random.between(1, 2);
    let (channels, multiplier) = (random.between(1, 4), random.between(1, 2));
    let op = Convolution {
        strides: random.list(axes, 1, 3),
        dilations: random.list(axes, 1, 3),
        padding: random.padding(axes),
        groups: channels,
    };
    let mut x = vec![random.between(1, 2), channels];
    x.extend(random.list(axes, 1, 40));
    let mut w = vec![channels * multiplier, 1];
    w.extend(random.list(axes, 1, 5));
    let example = Example::new("depthwise", op).float(&x).float(&w);
    if random.flip() { example.float(&[channels * multiplier]) } else { example }
}

fn deconvolution(random: &mut Random) -> Example {
    let axes = random.between(1, 3);
    let (groups, inputs, outputs) = (random.between(1, 2), random.between(1, 3), random.between(1, 3));
    let sizes = random.list(axes, 1, 12);
    let op = Deconvolution {
        strides: random.list(axes, 1, 3),
        dilations: random.list(axes, 1, 2),
        padding: random.padding(axes),
        output_padding: random.list(axes, 0, 1),
        output_sizes: (random.between(0, 4) == 0).then_some(sizes),
        groups,
    };
    let mut x = vec![random.between(1, 2), groups * inputs];
    x.extend(random.list(axes, 1, 6));
    let mut w = vec![groups * inputs, outputs];
    w.extend(random.list(axes, 1, 4));
    let data_type = random.of(FLOATS);
    let example = Example::new("deconvolution", op);
    let example = example.uniform(data_type, &x, -1.0, 1.0).uniform(data_type, &w, -1.0, 1.0);
    if random.flip() { example.uniform(data_type, &[groups * outputs], -1.0, 1.0) } else { example }
}

fn resize(random: &mut Random) -> Example {
    use Coordinates::{AlignCorners, Asymmetric, Crop, HalfPixel, HalfPixelOrZero, HalfPixelSymmetric};
    use NearestRounding::{Ceil, CeilWhenShrinking, Floor, PreferCeil, PreferFloor};
    let rank = random.between(1, 4);
    let antialias = random.flip();
    let rounding = random.of(&[Ceil, CeilWhenShrinking, Floor, PreferCeil, PreferFloor]);
    let a = random.of(&[-0.5, -0.75]);
    let interpolation = random.of(&[
        Interpolation::Nearest { rounding },
        Interpolation::Linear { antialias },
        Interpolation::Cubic { a, antialias },
    ]);
    let coordinates =
        random.of(&[AlignCorners, Asymmetric, Crop, HalfPixel, HalfPixelOrZero, HalfPixelSymmetric, HalfPixel]);
    let nearest = matches!(interpolation, Interpolation::Nearest { .. });
    let op = Resize {
        exclude_outside: random.flip(),
        extrapolation: 2.0,
        axes: random.flip().then(|| vec![-1]),
        aspect_ratio: random.of(&[AspectRatio::Stretch, AspectRatio::NotLarger, AspectRatio::NotSmaller]),
        ..Resize::plain(interpolation, coordinates)
    };
    let count = if op.axes.is_some() { 1 } else { rank };
    // Sums of integers are rounded, which the last bit of a weight may decide.
    let types = if nearest { &[DataType::F32, DataType::U8, DataType::I64, DataType::Bf16] } else { FLOATS };
    let example = Example::new("resize", op).uniform(random.of(types), &random.list(rank, 1, 6), 0.0, 10.0);
    let tensor = |values: Vec<f32>| Tensor::from_vec(&[values.len()], values).expect("a list");
    let region = random.list(2 * count, 0, 12).into_iter().map(|tenths| tenths as f32 / 10.0).collect();
    let example = example.tensor(tensor(region));
    if random.flip() {
        return example.tensor(tensor((0..count).map(|_| random.of(&[0.5, 0.7, 1.0, 1.6, 2.0, 3.0])).collect()));
    }
    let sizes: Vec<i64> = random.list(count, 1, 9).into_iter().map(|s| s as i64).collect();
    example.absent().ints(&sizes)
}

fn grid_sample(random: &mut Random) -> Example {
    use GridInterpolation::{Cubic, Linear, Nearest};
    use GridPadding::{Border, Reflection, Zeros};
    let axes = random.between(1, 3);
    let op = GridSample {
        interpolation: random.of(&[Cubic, Linear, Nearest]),
        padding: random.of(&[Border, Reflection, Zeros]),
        align_corners: random.flip(),
    };
    let samples = random.between(1, 2);
    let mut x = vec![samples, random.between(1, 3)];
    x.extend(random.list(axes, 1, 6));
    let mut grid = vec![samples];
    grid.extend(random.list(axes, 1, 4));
    grid.push(axes);
    Example::new("grid sample", op).uniform(random.of(FLOATS), &x, -1.0, 1.0).uniform(DataType::F32, &grid, -4.0, 4.0)
}

fn normalize(random: &mut Random) -> Example {
    let rank = random.between(1, 4);
    let axes: Vec<i64> = (0..rank as i64).filter(|_| random.flip()).collect();
    let orders = [1.0, 2.0, 2.5].map(|order| Measure::Norm { order });
    let measures: Vec<Measure> = orders.into_iter().chain([Measure::Deviation, Measure::RootMeanSquare]).collect();
    let split = rank > 1 && !axes.contains(&1) && random.flip();
    let op = Normalize {
        measure: random.of(&measures),
        groups: split.then(|| random.between(1, 3)),
        statistics: random.flip().then(|| random.of(&[DataType::F32, DataType::F64])),
        ..Normalize::deviation(axes, 0.1)
    };
    Example::new("normalize", op).uniform(random.of(FLOATS), &random.list(rank, 0, 7), -2.0, 2.0)
}

/// A granularity with sizes of elements and of scales that belong to it.
fn granularity(random: &mut Random) -> (Granularity, Vec<usize>, Vec<usize>) {
    let rank = random.between(1, 3);
    let (sizes, axis) = (random.list(rank, 1, 40), random.between(0, rank - 1));
    match random.between(0, 2) {
        0 => (Granularity::Tensor, sizes, Vec::new()),
        1 => (Granularity::Axis { axis }, sizes.clone(), vec![sizes[axis]]),
        _ => {
            let size = random.between(1, 9);
            let mut scales = sizes.clone();
            scales[axis] = sizes[axis].div_ceil(size);
            (Granularity::Block { axis, size }, sizes, scales)
        }
    }
}

const STORED: &[DataType] = &[
    DataType::I8,
    DataType::U8,
    DataType::I16,
    DataType::U16,
    DataType::I4,
    DataType::U4,
    DataType::I2,
    DataType::U2,
    DataType::F8E4M3FN,
    DataType::F8E4M3FNUZ,
    DataType::F8E5M2,
    DataType::F8E5M2FNUZ,
    DataType::F4E2M1,
];

fn quantize(random: &mut Random) -> Example {
    let (granularity, sizes, scales) = granularity(random);
    let precision = random.of(&[DataType::F32, DataType::F32, DataType::F16, DataType::F64]);
    let data_type = random.of(STORED);
    let op = Quantize { granularity, precision, saturate: random.flip(), ..Quantize::plain(data_type) };
    let from = random.of(&[DataType::F32, DataType::F32, DataType::F16, DataType::I32]);
    let example = Example::new("quantize", op).uniform(from, &sizes, -300.0, 300.0);
    let example = example.uniform(DataType::F32, &scales, 0.25, 4.0);
    if random.flip() { example.uniform(data_type, &scales, 0.0, 1.0) } else { example }
}

fn dequantize(random: &mut Random) -> Example {
    let (granularity, sizes, scales) = granularity(random);
    let op = Dequantize { granularity, data_type: random.of(&[DataType::F32, DataType::F16, DataType::Bf16]) };
    let stored = random.of(STORED);
    let low = if stored.is_unsigned_integer() { 0.0 } else { -9.0 };
    let example = Example::new("dequantize", op).uniform(stored, &sizes, low, 9.0);
    let example = example.uniform(random.of(&[DataType::F32, DataType::F16]), &scales, 0.01, 4.0);
    if random.flip() { example.uniform(stored, &scales, 0.0, 1.0) } else { example }
}

/// How many tactics took a problem, and where they differ from the reference.
fn differences(example: &Example, seed: u64) -> (usize, Vec<String>) {
    let device = Cpu.open(2).expect("the processor");
    let values = example.values(seed);
    // Random attributes need not fit each other.
    let Ok(region) = region_of(&example.op, &values) else { return (0, Vec::new()) };
    let evaluator = ReferenceEvaluator;
    let expected = example.op.reference(&Arguments::new(&values), &EvalContext::new(&evaluator));
    let (mut ran, mut wrong) = (0, Vec::new());
    for tactic in Cpu.tactics() {
        let Ok(candidates) = offers(tactic, &region, device.target()) else { continue };
        ran += 1;
        let bound = match candidates[0].numerics {
            Numerics::Exact => Tolerance::EXACT,
            _ => Tolerance { relative: 2e-5, absolute: 1e-5 },
        };
        let found = catch_unwind(AssertUnwindSafe(|| run_kernel(&*device, tactic, &region, &values)));
        let result = match (found, &expected) {
            (Err(_), _) => Err("panicked".to_owned()),
            (Ok(Err(_)), Err(_)) => Ok(()),
            (Ok(Ok(_)), Err(reason)) => Err(format!("took what the reference refuses: {reason}")),
            (Ok(Err(reason)), Ok(_)) => Err(reason),
            (Ok(Ok(found)), Ok(expected)) => {
                let mut pairs = found.iter().zip(expected).enumerate();
                pairs.try_for_each(|(i, (a, b))| compare(a, b, bound).map_err(|e| format!("result {i}: {e}")))
            }
        };
        if let Err(reason) = result {
            wrong.push(format!("{} on {region}: {reason}", tactic.name()));
        }
    }
    (ran, wrong)
}

#[test]
fn kernels_agree_with_the_reference_on_random_problems() {
    let makers: &[fn(&mut Random) -> Example] =
        &[pool, pool_with_indices, depthwise, deconvolution, resize, grid_sample, normalize, quantize, dequantize];
    let mut wrong = Vec::new();
    for make in makers {
        let (mut ran, mut name) = (0, "");
        for seed in 0..PROBLEMS {
            let example = make(&mut Random(seed));
            let (tactics, found) = differences(&example, seed);
            ran += tactics;
            name = example.name;
            wrong.extend(found);
        }
        println!("{name}: {ran} launches");
        assert!(ran > PROBLEMS as usize / 4, "{name}: only {ran} launches of {PROBLEMS} problems");
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
