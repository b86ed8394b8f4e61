//! Convolutions and pools of images with the channels last: agreement with the reference on odd sizes, and their speed.

use std::collections::BTreeSet;

use bytes::Bytes;
use sinter_backend::{Argument, Candidate, Input, Loaded, Output, Problem, Queue, Region, Sizing};
use sinter_base::{DataType, MemoryRef, Rows, Tensor, TensorType};
use sinter_cuda::Cuda;
use sinter_cuda::compile::image_with;
use sinter_ops::conv::Convolution;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode, PoolWindow};
use sinter_ops::window::Padding;
use sinter_ops::{Body, InferContext, Op, ValueId};

use crate::compile::{distinct, failures, has_compiler};
use crate::convolutions::{same, windows};
use crate::device::{arguments, device, memory_of_input, times_of};
use crate::products::{Random, agree, agree_on_all, compile_all, offers, reference, run, ty};

/// The pointwise operator behind a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Nothing,
    Relu,
    /// relu((residual + y) * scale), with a number for each channel.
    Residual,
    /// y * scale, with a number for each image and channel.
    Gate,
    /// y * sigmoid(y), computed in f32.
    Swish,
}

/// Where the channels of the image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    Last,
    First,
}

fn sizes_of(body: &Body, id: ValueId) -> Vec<usize> {
    body.ty(id).as_tensor().and_then(|ty| ty.shape.sizes()).expect("sizes").to_vec()
}

/// An operator on an image, whose result has its channels last.
fn on_image(body: &mut Body, op: Op, image: Image, operands: &[Option<ValueId>]) -> ValueId {
    let mut cx = InferContext::default();
    let mut operands = operands.to_vec();
    let rank = sizes_of(body, operands[0].expect("an image")).len();
    if image == Image::Last {
        let back =
            body.add(Transpose::to_channels_first(rank).into(), &operands[..1], &mut cx).expect("a transposition");
        operands[0] = Some(back[0]);
    }
    let y = body.add(op, &operands, &mut cx).expect("an operator on images")[0];
    body.add(Transpose::to_channels_last(rank).into(), &[Some(y)], &mut cx).expect("a transposition")[0]
}

/// A convolution of an image of sizes [n, c, spatial...] with an epilogue.
pub(crate) fn convolution(
    op: Convolution,
    data_type: DataType,
    image: Image,
    [x, w]: [&[usize]; 2],
    (has_bias, behind): (bool, Behind),
) -> Region {
    let mut body = Body::new();
    let mut turned = x.to_vec();
    if image == Image::Last {
        turned[1..].rotate_left(1);
    }
    let mut operands = vec![Some(body.add_input(ty(data_type, &turned))), Some(body.add_input(ty(data_type, w)))];
    if has_bias {
        operands.push(Some(body.add_input(ty(data_type, &w[..1]))));
    }
    let y = on_image(&mut body, op.into(), image, &operands);
    let sizes = sizes_of(&body, y);
    let input = |index| Expr::input(index, data_type);
    let zero = Expr::constant(data_type, 0.0);
    let channels = || {
        let mut all = vec![1; sizes.len()];
        all[sizes.len() - 1] = w[0];
        all
    };
    let gates = || {
        let mut all = channels();
        all[0] = sizes[0];
        all
    };
    let (program, beside) = match behind {
        Behind::Nothing => (None, vec![]),
        Behind::Relu => (Some(input(0).binary(ScalarOp::Max, &zero)), vec![]),
        Behind::Residual => {
            let sum = &(&input(1) + &input(0)) * &input(2);
            (Some(sum.binary(ScalarOp::Max, &zero)), vec![sizes.clone(), channels()])
        }
        Behind::Gate => (Some(&input(0) * &input(1)), vec![gates()]),
        Behind::Swish => (Some(input(0).cast(DataType::F32).unary(ScalarOp::Swish).cast(data_type)), vec![]),
    };
    let result = program.map_or(y, |program| {
        let op = Expr::into_pointwise(&[program]).expect("a program");
        let beside: Vec<_> = beside.iter().map(|sizes| Some(body.add_input(ty(data_type, sizes)))).collect();
        let inputs: Vec<_> = [Some(y)].into_iter().chain(beside).collect();
        body.add(op.into(), &inputs, &mut InferContext::default()).expect("an epilogue")[0]
    });
    body.set_outputs(vec![result]);
    Region::new(body).with_constants(vec![1])
}

/// Regions whose machine code is read.
pub(crate) fn telling() -> Vec<Region> {
    let half = DataType::F16;
    let cases: [(Convolution, Image, [&[usize]; 2], Behind); 4] = [
        (same(3, 1), Image::Last, [&[8, 128, 28, 28], &[128, 128, 3, 3]], Behind::Nothing),
        (same(1, 1), Image::Last, [&[8, 64, 56, 56], &[256, 64, 1, 1]], Behind::Residual),
        (same(3, 2), Image::Last, [&[1, 512, 14, 14], &[512, 512, 3, 3]], Behind::Relu),
        (same(7, 2), Image::First, [&[8, 3, 224, 224], &[64, 3, 7, 7]], Behind::Relu),
    ];
    let mut regions =
        cases.map(|(op, image, sizes, behind)| convolution(op, half, image, sizes, (true, behind))).to_vec();
    regions.push(convolution(
        grouped(3, 1, 96),
        half,
        Image::Last,
        [&[8, 96, 56, 56], &[96, 1, 3, 3]],
        (true, Behind::Relu),
    ));
    regions.push(pool(PoolMode::Max, Some(3), DataType::Bf16, &[8, 64, 56, 56]));
    regions
}

/// A convolution of every channel by itself.
fn grouped(taps: usize, stride: usize, groups: usize) -> Convolution {
    Convolution { groups, ..same(taps, stride) }
}

/// A pool of an image of sizes [n, c, spatial...], with channels last: all windows of as many taps along each axis, or whole images.
fn pool(mode: PoolMode, taps: Option<usize>, data_type: DataType, x: &[usize]) -> Region {
    let window = taps.map(|taps| {
        let spatial = x.len() - 2;
        PoolWindow {
            strides: (0..spatial).map(|axis| 2 - axis % 2).collect(),
            padding: Padding::Explicit {
                begin: vec![1; spatial],
                end: (0..spatial as i64).map(|axis| axis % 3).collect(),
            },
            ceil: true,
            ..PoolWindow::of(&vec![taps; spatial])
        }
    });
    pool_of(Pool { mode, window }, data_type, x)
}

fn pool_of(op: Pool, data_type: DataType, x: &[usize]) -> Region {
    let mut body = Body::new();
    let mut turned = x.to_vec();
    turned[1..].rotate_left(1);
    let x = body.add_input(ty(data_type, &turned));
    let y = on_image(&mut body, op.into(), Image::Last, &[Some(x)]);
    body.set_outputs(vec![y]);
    Region::new(body)
}

const ALL_BEHIND: [(bool, Behind); 5] = [
    (false, Behind::Nothing),
    (true, Behind::Relu),
    (true, Behind::Residual),
    (false, Behind::Gate),
    (true, Behind::Swish),
];

/// Windows of all kinds that a thread keeps in registers, and larger ones; channels in chunks, and one by one; lines and columns
/// that no tile divides; one spatial axis.
fn depthwise_cases() -> Vec<(Convolution, &'static [usize], &'static [usize])> {
    vec![
        (grouped(3, 1, 32), &[2, 32, 9, 11], &[3, 3]),
        (grouped(3, 2, 96), &[1, 96, 13, 15], &[3, 3]),
        (grouped(5, 1, 24), &[1, 24, 7, 6], &[5, 5]),
        (grouped(5, 2, 40), &[3, 40, 11, 18], &[5, 5]),
        (grouped(5, 2, 13), &[1, 13, 12, 9], &[5, 5]),
        (grouped(7, 1, 16), &[1, 16, 10, 10], &[7, 7]),
        (grouped(9, 2, 16), &[2, 16, 14, 9], &[9, 9]),
        (windows(&[1, 3], &[2, 2], &[2, 1], &[0, 3], 8), &[2, 8, 11, 12], &[3, 2]),
        (windows(&[1, 1], &[3, 2], &[3, 2], &[3, 2], 24), &[1, 24, 9, 13], &[3, 3]),
        (windows(&[1, 1], &[9, 1], &[18, 0], &[18, 2], 8), &[1, 8, 12, 7], &[5, 3]),
        (windows(&[2, 2], &[1, 1], &[-1, 1], &[1, 0], 40), &[1, 40, 9, 8], &[2, 3]),
        (windows(&[4, 4], &[1, 1], &[0, 0], &[0, 0], 16), &[2, 16, 10, 13], &[1, 2]),
        (windows(&[1], &[1], &[7], &[7], 48), &[2, 48, 37], &[15]),
        (windows(&[2], &[2], &[1], &[0], 7), &[2, 7, 21], &[3]),
        (grouped(3, 1, 8), &[0, 8, 4, 4], &[3, 3]),
    ]
}

fn depthwise(op: &Convolution, data_type: DataType, x: &[usize], taps: &[usize], form: (bool, Behind)) -> Region {
    let w: Vec<usize> = [x[1], 1].iter().chain(taps).copied().collect();
    convolution(op.clone(), data_type, Image::Last, [x, &w], form)
}

#[test]
fn every_tile_of_depthwise_convolutions_agrees_with_the_reference() {
    let Some(device) = device() else { return };
    let mut regions = Vec::new();
    for (index, (op, x, taps)) in depthwise_cases().into_iter().enumerate() {
        for number in 0..2 {
            let data_type = if (index + number) % 2 == 0 { DataType::F16 } else { DataType::Bf16 };
            let form = ALL_BEHIND[(index + 2 * number) % ALL_BEHIND.len()];
            regions.push(depthwise(&op, data_type, x, taps, form));
        }
    }
    agree_on_all(&*device, &regions);
}

#[test]
fn pools_with_channels_last_agree_with_the_reference() {
    let Some(device) = device() else { return };
    let mut regions = Vec::new();
    for (mode, taps) in [
        (PoolMode::Max, Some(3)),
        (PoolMode::Average { count_padding: true }, Some(3)),
        (PoolMode::Average { count_padding: false }, Some(2)),
        (PoolMode::Max, Some(5)),
        (PoolMode::Average { count_padding: false }, None),
        (PoolMode::Max, None),
    ] {
        let sizes: [&[usize]; 11] = [
            &[2, 72, 11, 9],
            &[3, 13, 7, 7],
            &[1, 8, 1, 1],
            &[2, 24, 17],
            &[1, 16, 4, 5, 6],
            &[0, 8, 4, 4],
            // Blocks share images: in sectors and by channels.
            &[1, 24, 50, 47],
            &[1, 24, 95, 67],
            &[2, 13, 81, 43],
            // Enough images for whole lines of the cache.
            &[140, 72, 3, 5],
            &[133, 64, 2, 33],
        ];
        // No window is larger than the image with its border.
        let fits = |x: &&[usize]| x[2..].iter().all(|size| *size == 0 || size + 1 >= taps.unwrap_or(0));
        for (index, x) in sizes.into_iter().filter(fits).enumerate() {
            let data_type = if index % 2 == 0 { DataType::F16 } else { DataType::Bf16 };
            regions.push(pool(mode.clone(), taps, data_type, x));
        }
    }
    agree(&*device, &regions);
}

/// The first layers of networks: few channels that lie in front of the spatial axes; lines of any length.
#[test]
fn every_tile_of_first_layers_agrees_with_the_reference() {
    let Some(device) = device() else { return };
    let cases: Vec<(Convolution, &[usize], &[usize])> = vec![
        (same(7, 2), &[2, 3, 40, 36], &[64, 3, 7, 7]),
        (same(7, 2), &[1, 3, 41, 37], &[24, 3, 7, 7]),
        (same(3, 2), &[3, 3, 33, 44], &[32, 3, 3, 3]),
        (same(3, 1), &[1, 3, 18, 20], &[72, 3, 3, 3]),
        (same(3, 1), &[2, 2, 9, 35], &[100, 2, 3, 3]),
        (same(5, 1), &[2, 1, 28, 28], &[9, 1, 5, 5]),
        (windows(&[3, 2], &[2, 1], &[0, 4], &[3, -1], 1), &[1, 4, 17, 60], &[17, 4, 3, 4]),
        (windows(&[1, 3], &[1, 1], &[-2, 3], &[5, 3], 1), &[2, 3, 21, 40], &[16, 3, 4, 5]),
        (windows(&[4, 4], &[1, 1], &[0, 0], &[0, 0], 1), &[1, 3, 32, 64], &[96, 3, 4, 4]),
        (windows(&[2], &[1], &[5], &[2], 1), &[2, 1, 500], &[64, 1, 11]),
        (same(3, 1), &[0, 3, 4, 4], &[8, 3, 3, 3]),
    ];
    let mut regions = Vec::new();
    for (index, (op, x, w)) in cases.into_iter().enumerate() {
        for number in 0..2 {
            let data_type = if (index + number) % 2 == 0 { DataType::F16 } else { DataType::Bf16 };
            let form = ALL_BEHIND[(index + 2 * number) % ALL_BEHIND.len()];
            regions.push(convolution(op.clone(), data_type, Image::First, [x, w], form));
        }
    }
    agree_on_all(&*device, &regions);
}

/// A pixel that no window of a result meets changes no result, even if it is no number: windows of odd length are padded to pairs.
#[test]
fn pixels_beside_a_window_do_not_count() {
    let Some(device) = device() else { return };
    let (x, w): (&[usize], &[usize]) = (&[1, 1, 3, 32], &[8, 1, 3, 3]);
    let region =
        convolution(windows(&[2, 4], &[1, 1], &[0, 0], &[0, 0], 1), DataType::F16, Image::First, [x, w], ALL_BEHIND[0]);
    let mut operands = Random::fresh().operands(&region);
    // The fourth of four columns.
    let values: Vec<f64> = operands[0]
        .to_floats()
        .into_iter()
        .enumerate()
        .map(|(at, v)| if at % 4 == 3 { f64::INFINITY } else { v })
        .collect();
    operands[0] = Tensor::from_floats(DataType::F16, x, &values).expect("a tensor");
    let expected = reference(&region, &operands);
    assert!(expected.iter().all(|value| value.is_finite()));
    for (tactic, candidate) in offers(&region, device.target(), usize::MAX) {
        let found = run(&*device, tactic, &candidate, &region, &operands).expect("a result").to_floats();
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 0.05 && found.iter().all(|value| value.is_finite()), "{}", candidate.recipe);
    }
}

/// No tile needs more registers than there are.
#[test]
fn tiles_of_light_layers_stay_in_registers() {
    if !has_compiler() {
        return;
    }
    let cases = [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)];
    let tiles = cases.map(|(taps, stride)| {
        depthwise(&grouped(taps, stride, 96), DataType::F16, &[1, 96, 56, 56], &[taps, taps], (true, Behind::Swish))
    });
    let first = [(7, 2, 64), (3, 2, 32), (3, 1, 64)].map(|(taps, stride, m)| {
        let (x, w): (&[usize], &[usize]) = (&[8, 3, 224, 224], &[m, 3, taps, taps]);
        convolution(same(taps, stride), DataType::F16, Image::First, [x, w], (true, Behind::Swish))
    });
    let pools = [Some(3), None].map(|taps| pool(PoolMode::Max, taps, DataType::Bf16, &[8, 64, 56, 56]));
    let regions: Vec<Region> = tiles.into_iter().chain(first).chain(pools).collect();
    let mut jobs = distinct(&regions, &["sm_90a"], usize::MAX);
    jobs.retain(|(name, ..)| ["depthwise", "halo", "pool.nhwc"].iter().any(|part| name.contains(part)));
    let failures = failures(&jobs, |(_, source, target)| {
        let compiled = image_with(source, target, &["--ptxas-options=-warn-spills"]);
        compiled
            .map_or_else(|error| Some(error.to_string()), |compiled| Some(compiled.log).filter(|log| !log.is_empty()))
    });
    println!("{} kernels", jobs.len());
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures[..failures.len().min(5)].join("\n"));
}

/// Strides, dilations, borders of any size, groups, tails of channels and of pixels, one to three spatial axes, no images.
fn cases() -> Vec<(Convolution, &'static [usize], &'static [usize])> {
    vec![
        (same(1, 1), &[3, 64, 9, 7], &[72, 64, 1, 1]),
        (same(1, 1), &[1, 200, 5, 5], &[24, 200, 1, 1]),
        (same(1, 2), &[2, 64, 9, 8], &[128, 64, 1, 1]),
        (same(3, 1), &[2, 64, 12, 11], &[64, 64, 3, 3]),
        (same(3, 1), &[1, 128, 7, 7], &[136, 128, 3, 3]),
        (same(3, 2), &[2, 24, 13, 15], &[40, 24, 3, 3]),
        (same(5, 1), &[1, 72, 10, 9], &[33, 72, 5, 5]),
        (windows(&[1, 2], &[2, 3], &[0, 4], &[3, -1], 1), &[1, 8, 17, 19], &[9, 8, 3, 2]),
        (windows(&[3, 1], &[1, 2], &[-2, 1], &[5, 3], 1), &[2, 16, 21, 10], &[16, 16, 4, 3]),
        (windows(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 4), &[2, 64, 6, 10], &[128, 16, 3, 3]),
        (windows(&[2, 1], &[1, 1], &[1, 1], &[1, 1], 2), &[2, 48, 9, 9], &[36, 24, 3, 3]),
        (windows(&[1, 1], &[1, 1], &[0, 0], &[0, 0], 2), &[2, 48, 9, 9], &[32, 24, 1, 1]),
        (windows(&[3], &[2], &[5], &[2], 1), &[2, 16, 50], &[24, 16, 7]),
        (windows(&[1, 2, 1], &[1, 1, 2], &[1, 0, 2], &[0, 1, 2], 1), &[2, 16, 5, 7, 9], &[33, 16, 2, 3, 3]),
        (same(3, 1), &[2, 12, 9, 11], &[24, 12, 3, 3]),
        (same(3, 1), &[0, 8, 4, 4], &[8, 8, 3, 3]),
    ]
}

#[test]
fn convolutions_with_channels_last_agree_with_the_reference() {
    let Some(device) = device() else { return };
    let mut regions = Vec::new();
    let all = &ALL_BEHIND[..4];
    for (index, (op, x, w)) in cases().into_iter().enumerate() {
        for (number, &form) in all.iter().enumerate() {
            let data_type = if (index + number) % 2 == 0 { DataType::F16 } else { DataType::Bf16 };
            regions.push(convolution(op.clone(), data_type, Image::Last, [x, w], form));
        }
        if op.groups == 1 {
            regions.push(convolution(op, DataType::F16, Image::First, [x, w], all[index % 3]));
        }
    }
    let first: &[usize] = &[2, 3, 40, 37];
    regions.push(convolution(same(7, 2), DataType::F16, Image::First, [first, &[64, 3, 7, 7]], (true, Behind::Relu)));
    agree(&*device, &regions);
}

#[test]
fn every_tile_of_convolutions_agrees_with_the_reference() {
    let Some(device) = device() else { return };
    let (x, w): (&[usize], &[usize]) = (&[3, 72, 13, 11], &[136, 72, 3, 3]);
    agree_on_all(&*device, &[convolution(same(3, 1), DataType::F16, Image::Last, [x, w], (true, Behind::Residual))]);
}

/// Memory of pixels that lie further apart than their channels, and the places of their elements in it.
fn apart(queue: &mut dyn Queue, argument: &mut Argument) -> Vec<usize> {
    let count: usize = argument.sizes.iter().product();
    let inner = *argument.sizes.last().expect("channels");
    let rows = Rows { inner, step: inner + 24 };
    let bytes = 2 * rows.span(count).expect("whole pixels");
    argument.memory = MemoryRef { block: queue.allocate(bytes).expect("memory"), offset: 0, bytes };
    argument.rows = Some(rows);
    (0..count).map(|at| at / inner * rows.step + at % inner).collect()
}

#[test]
fn convolutions_read_and_write_pixels_that_lie_apart() {
    let Some(device) = device() else { return };
    let mut random = Random::fresh();
    for (op, w) in [(same(3, 1), [72, 64, 3, 3]), (same(1, 1), [40, 64, 1, 1])] {
        let form = (true, Behind::Relu);
        let region = convolution(op, DataType::F16, Image::Last, [&[2, 64, 9, 11], &w], form);
        let operands = random.operands(&region);
        let expected = reference(&region, &operands);
        let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
        for (tactic, candidate) in offers(&region, device.target(), 6) {
            let code = tactic.compile(&candidate.recipe, &region, device.target()).expect("code");
            let Loaded::Kernel(kernel) = device.load(&candidate.recipe, &region, code.as_ref()).expect("a kernel")
            else {
                panic!("a kernel of the host")
            };
            let mut queue = device.queue().expect("a queue");
            let mut arguments = arguments(&mut *queue, &region);
            let (Input::Memory(x), Output::Memory(y)) = (&mut arguments.inputs[0], &mut arguments.outputs[0]) else {
                panic!("an image and a result")
            };
            let (from, to) = (apart(&mut *queue, x), apart(&mut *queue, y));
            let (x, y) = (x.memory, y.memory);
            let mut image = vec![0xFF; x.bytes];
            for (two, at) in operands[0].bytes().chunks_exact(2).zip(from) {
                image[2 * at..2 * at + 2].copy_from_slice(two);
            }
            queue.write(x, &image).expect("a copy");
            queue.write(y, &vec![0xFF; y.bytes]).expect("a copy");
            let packed = tactic.pack(&candidate.recipe, &region, 1, &operands[1]).expect("packed weights");
            queue.write(memory_of_input(&arguments, 1), packed.bytes()).expect("a copy");
            queue.write(memory_of_input(&arguments, 2), operands[2].bytes()).expect("a copy");
            queue.launch(kernel, &arguments, (0, 0)).expect("a launch");
            let mut result = vec![0; y.bytes];
            queue.read(y, &mut result).expect("a copy");
            let owned: Vec<u8> = to.iter().flat_map(|at| [result[2 * at], result[2 * at + 1]]).collect();
            let found =
                Tensor::from_bytes(DataType::F16, &[to.len()], Bytes::from(owned)).expect("a tensor").to_floats();
            let wrong =
                (0..to.len()).find(|at| (found[*at] - expected[*at]).abs() > largest / 128.0 || found[*at].is_nan());
            assert_eq!(wrong, None, "{}", candidate.recipe);
            // Elements between pixels stay as they are.
            let written: std::collections::BTreeSet<usize> = to.into_iter().collect();
            let between = (0..result.len() / 2).filter(|at| !written.contains(at));
            assert!(
                between.map(|at| [result[2 * at], result[2 * at + 1]]).all(|two| two == [0xFF; 2]),
                "{}",
                candidate.recipe
            );
        }
    }
}

/// The convolutions of ResNet-50 behind the first one: channels, side, output channels, taps, stride, how often, and whether a
/// residual is added.
const LAYERS: &[(usize, usize, usize, usize, usize, usize, bool)] = &[
    (64, 56, 64, 1, 1, 1, false),
    (64, 56, 64, 3, 1, 3, false),
    (64, 56, 256, 1, 1, 1, false),
    (64, 56, 256, 1, 1, 3, true),
    (256, 56, 64, 1, 1, 2, false),
    (256, 56, 128, 1, 1, 1, false),
    (128, 56, 128, 3, 2, 1, false),
    (128, 28, 512, 1, 1, 4, true),
    (256, 56, 512, 1, 2, 1, false),
    (512, 28, 128, 1, 1, 3, false),
    (128, 28, 128, 3, 1, 3, false),
    (512, 28, 256, 1, 1, 1, false),
    (256, 28, 256, 3, 2, 1, false),
    (256, 14, 1024, 1, 1, 6, true),
    (512, 28, 1024, 1, 2, 1, false),
    (1024, 14, 256, 1, 1, 5, false),
    (256, 14, 256, 3, 1, 5, false),
    (1024, 14, 512, 1, 1, 1, false),
    (512, 14, 512, 3, 2, 1, false),
    (512, 7, 2048, 1, 1, 3, true),
    (1024, 14, 2048, 1, 2, 1, false),
    (2048, 7, 512, 1, 1, 2, false),
    (512, 7, 512, 3, 1, 2, false),
];

/// Prints the speed of the layers of ResNet-50; no figure is a condition.
#[test]
fn figures_of_channels_last() {
    let Some(device) = device() else { return };
    let target = device.target();
    // The batches, as `BATCHES=1,8`.
    let batches = std::env::var("BATCHES").unwrap_or_else(|_| "1,8,128".to_owned());
    for batch in batches.split(',').map(|batch| batch.parse::<usize>().expect("a number")) {
        let layer =
            |&(c, side, m, taps, stride, _, has_residual): &(usize, usize, usize, usize, usize, usize, bool)| {
                let behind = if has_residual { Behind::Residual } else { Behind::Relu };
                let (x, w): (&[usize], &[usize]) = (&[batch, c, side, side], &[m, c, taps, taps]);
                convolution(same(taps, stride), DataType::F16, Image::Last, [x, w], (true, behind))
            };
        let regions: Vec<Region> = LAYERS.iter().map(layer).collect();
        compile_all(&regions, target, MOST);
        let (mut best_of_all, mut chosen_of_all) = (0.0, 0.0);
        for (region, &(c, side, m, taps, stride, count, residual)) in regions.iter().zip(LAYERS) {
            let takers = offers(region, target, MOST);
            let takers: Vec<_> =
                takers.into_iter().filter(|(tactic, _)| tactic.name().contains("conv.wgmma")).collect();
            let codes: Vec<_> = takers
                .iter()
                .map(|(tactic, candidate)| {
                    let code = tactic.compile(&candidate.recipe, region, target).expect("code").expect("machine code");
                    (candidate.recipe.clone(), code)
                })
                .collect();
            let times = times_of(&*device, region, &codes, copies(region));
            let name = format!("{batch}x{c}x{side} {m}x{taps}/{stride}{}", if residual { " +residual" } else { "" });
            for ((_, candidate), seconds) in takers.iter().zip(&times) {
                println!(
                    "{name} {}: {:.2} us, expected {:.2}",
                    candidate.recipe,
                    seconds * 1e6,
                    candidate.estimate / 1e3
                );
            }
            let best = (0..times.len()).min_by(|a, b| times[*a].total_cmp(&times[*b])).expect("a recipe");
            println!(
                "figure: {name}: {:.2} us, first {:.2}; {}",
                times[best] * 1e6,
                times[0] * 1e6,
                takers[best].1.recipe.parameters
            );
            best_of_all += times[best] * count as f64;
            chosen_of_all += times[0] * count as f64;
        }
        println!(
            "figure: {batch} images, 52 convolutions: {:.0} us, first recipes {:.0} us",
            best_of_all * 1e6,
            chosen_of_all * 1e6
        );
    }
}

/// Depthwise convolutions, pools and first layers of MobileNet v2, EfficientNet-B0 and ResNet-50.
fn light_layers(batch: usize) -> Vec<(String, Region)> {
    let half = DataType::F16;
    let mut layers = Vec::new();
    for (c, side, taps, stride, behind) in [
        (96, 112, 3, 2, Behind::Relu),
        (144, 56, 3, 1, Behind::Relu),
        (192, 28, 3, 1, Behind::Relu),
        (576, 14, 3, 1, Behind::Relu),
        (960, 7, 3, 1, Behind::Relu),
        (32, 112, 3, 1, Behind::Swish),
        (144, 56, 5, 2, Behind::Swish),
        (240, 28, 5, 1, Behind::Swish),
        (672, 14, 5, 1, Behind::Swish),
        (672, 14, 5, 2, Behind::Swish),
        (1152, 7, 5, 1, Behind::Swish),
        (96, 56, 7, 1, Behind::Nothing),
    ] {
        let region = depthwise(&grouped(taps, stride, c), half, &[batch, c, side, side], &[taps, taps], (true, behind));
        layers.push((format!("depthwise {batch}x{c}x{side} {taps}/{stride} {behind:?}"), region));
    }
    for (c, side) in [(32, 112), (96, 56), (144, 56), (240, 28), (480, 14), (1280, 7)] {
        let region = pool(PoolMode::Average { count_padding: false }, None, half, &[batch, c, side, side]);
        layers.push((format!("pool {batch}x{c}x{side} whole"), region));
    }
    let padding = Padding::Explicit { begin: vec![1; 2], end: vec![1; 2] };
    let window = Some(PoolWindow { strides: vec![2; 2], padding, ..PoolWindow::of(&[3; 2]) });
    let region = pool_of(Pool { mode: PoolMode::Max, window }, half, &[batch, 64, 112, 112]);
    layers.push((format!("pool {batch}x64x112 3/2"), region));
    for (m, taps, stride, behind) in [(64, 7, 2, Behind::Relu), (32, 3, 2, Behind::Swish), (64, 3, 1, Behind::Relu)] {
        let (x, w): (&[usize], &[usize]) = (&[batch, 3, 224, 224], &[m, 3, taps, taps]);
        let region = convolution(same(taps, stride), half, Image::First, [x, w], (true, behind));
        layers.push((format!("first {batch}x3x224 {m}x{taps}/{stride} {behind:?}"), region));
    }
    layers
}

/// Prints the speed of layers that the memory bounds; no figure is a condition.
#[test]
fn figures_of_light_layers() {
    let Some(device) = device() else { return };
    let target = device.target();
    // The batches, as `BATCHES=1,8`, and a part of the names of the layers, as `LAYERS=pool`.
    let batches = std::env::var("BATCHES").unwrap_or_else(|_| "1,128".to_owned());
    let part = std::env::var("LAYERS").unwrap_or_default();
    for batch in batches.split(',').map(|batch| batch.parse::<usize>().expect("a number")) {
        let mut layers = light_layers(batch);
        layers.retain(|(name, _)| name.contains(&part));
        compile_all(layers.iter().map(|(_, region)| region), target, MOST);
        for (name, region) in &layers {
            let takers = offers(region, target, MOST);
            let codes: Vec<_> = takers
                .iter()
                .map(|(tactic, candidate)| {
                    let code = tactic.compile(&candidate.recipe, region, target).expect("code").expect("machine code");
                    (candidate.recipe.clone(), code)
                })
                .collect();
            for tactic in takers.iter().map(|(tactic, _)| tactic.name()).collect::<BTreeSet<_>>() {
                let own: Vec<usize> = (0..takers.len()).filter(|at| takers[*at].0.name() == tactic).collect();
                let kernels: Vec<_> = own.iter().map(|at| codes[*at].clone()).collect();
                let times = times_of(&*device, region, &kernels, copies(region));
                for (at, seconds) in own.iter().zip(&times) {
                    let Candidate { recipe, estimate, .. } = &takers[*at].1;
                    println!("{name} {recipe}: {:.2} us, expected {:.2}", seconds * 1e6, estimate / 1e3);
                }
                let best = (0..times.len()).min_by(|a, b| times[*a].total_cmp(&times[*b])).expect("a recipe");
                let (fastest, chosen) = (times[best] * 1e6, times[0] * 1e6);
                println!(
                    "figure: {name} {tactic}: {fastest:.2} us, first {chosen:.2}; {}",
                    takers[own[best]].1.recipe.parameters
                );
            }
        }
    }
}

/// Recipes of a tactic for one region.
const MOST: usize = 16;

/// Copies of the operands that together exceed the cache.
fn copies(region: &Region) -> usize {
    let bytes = |ty: &TensorType| 2 * ty.shape.sizes().expect("sizes").iter().product::<usize>();
    let types = region.body().input_types().into_iter().chain(region.body().output_types());
    let bytes: usize = types.map(|ty| bytes(ty.as_tensor().expect("a tensor"))).sum();
    (160_000_000 / bytes.max(1)).clamp(1, 20)
}

/// Of the tactics that take a first layer, the one that reads the image by lines is the fastest, and is expected to be.
#[test]
fn first_layers_are_expected_to_be_fastest_from_shared_memory() {
    let target = sinter_cuda::target::Chip::named("sm_90a").expect("a known target").typical();
    for (name, region) in [1, 8, 128].into_iter().flat_map(light_layers).filter(|(name, _)| name.contains("first")) {
        let offers = offers(&region, &target, usize::MAX);
        let best = offers.iter().min_by(|(_, a), (_, b)| a.estimate.total_cmp(&b.estimate)).expect("an offer");
        assert_eq!(best.0.name(), "cuda.conv.mma.halo", "{name}");
    }
}

#[test]
fn offers_describe_packed_weights_and_strided_pixels() {
    let (x, w): (&[usize], &[usize]) = (&[1, 64, 8, 8], &[64, 64, 3, 3]);
    let region = convolution(same(3, 1), DataType::F16, Image::Last, [x, w], (true, Behind::Relu));
    let target = sinter_cuda::target::Chip::named("sm_90a").expect("a known target").typical();
    let problem = Problem { region: &region, target: &target, sizing: &Sizing::default() };
    let offered: Vec<_> = Cuda::device_tactics()
        .into_iter()
        .filter(|tactic| tactic.name().starts_with("cuda.conv."))
        .filter_map(|tactic| Some((tactic.name(), tactic.offer(&problem, 4).ok()?)))
        .collect();
    let names: Vec<&str> = offered.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["cuda.conv.wgmma", "cuda.conv.mma.nhwc"]);
    for (name, candidates) in offered {
        assert_eq!(candidates[0].packed, [1], "{name}");
        assert_eq!(candidates[0].strided.len(), 2, "{name}");
    }
}
