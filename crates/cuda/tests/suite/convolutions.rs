//! Convolutions on tensor cores: agreement with the reference on odd sizes, and their speed.

use sinter_backend::{Problem, Region, Sizing};
use sinter_base::DataType;
use sinter_cuda::Cuda;
use sinter_ops::conv::Convolution;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::window::Padding;
use sinter_ops::{Body, InferContext};

use crate::device::{device, time_of};
use crate::products::{agree, compile_all, ty};

/// relu(convolution + residual), or the convolution alone.
fn convolution(op: Convolution, data_type: DataType, [x, w]: [&[usize]; 2], has_bias: bool, is_fused: bool) -> Region {
    let mut body = Body::new();
    let mut cx = InferContext::default();
    let mut inputs: Vec<_> = [x, w].map(|sizes| Some(body.add_input(ty(data_type, sizes)))).to_vec();
    if has_bias {
        inputs.push(Some(body.add_input(ty(data_type, &w[..1]))));
    }
    let y = body.add(op.into(), &inputs, &mut cx).expect("a convolution")[0];
    let sizes = body.ty(y).as_tensor().and_then(|ty| ty.shape.sizes()).expect("sizes").to_vec();
    let mut result = y;
    if is_fused {
        let (x, residual, scale) = (Expr::input(0, data_type), Expr::input(1, data_type), Expr::input(2, data_type));
        let zero = Expr::constant(data_type, 0.0);
        let program = (&(&residual + &x) * &scale).binary(ScalarOp::Max, &zero);
        let op = Expr::into_pointwise(&[program]).expect("a program");
        let residual = body.add_input(ty(data_type, &sizes));
        let channels: Vec<usize> = (1..sizes.len()).map(|axis| if axis == 1 { sizes[1] } else { 1 }).collect();
        let scale = body.add_input(ty(data_type, &channels));
        result = body.add(op.into(), &[Some(y), Some(residual), Some(scale)], &mut cx).expect("an epilogue")[0];
    }
    body.set_outputs(vec![result]);
    Region::new(body)
}

pub(crate) fn windows(
    strides: &[usize],
    dilations: &[usize],
    begin: &[i64],
    end: &[i64],
    groups: usize,
) -> Convolution {
    let padding = Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() };
    Convolution { strides: strides.to_vec(), dilations: dilations.to_vec(), padding, groups }
}

pub(crate) fn same(taps: usize, stride: usize) -> Convolution {
    let border = i64::try_from(taps / 2).expect("a small window");
    windows(&[stride; 2], &[1, 1], &[border; 2], &[border; 2], 1)
}

/// Convolutions whose machine code is read.
pub(crate) fn telling() -> Vec<Region> {
    let (x, w): (&[usize], &[usize]) = (&[8, 128, 28, 28], &[128, 128, 3, 3]);
    [false, true].map(|is_fused| convolution(same(3, 1), DataType::F16, [x, w], is_fused, is_fused)).to_vec()
}

#[test]
fn convolutions_of_odd_sizes_agree_with_the_reference() {
    let Some(device) = device() else { return };
    let cases: Vec<(Convolution, &[usize], &[usize])> = vec![
        (same(3, 1), &[2, 16, 9, 11], &[24, 16, 3, 3]),
        (same(3, 2), &[1, 5, 13, 7], &[130, 5, 3, 3]),
        (same(1, 1), &[3, 64, 8, 8], &[72, 64, 1, 1]),
        (same(7, 2), &[1, 3, 40, 37], &[64, 3, 7, 7]),
        (windows(&[1, 2], &[2, 3], &[0, 4], &[3, -1], 1), &[1, 8, 17, 19], &[9, 8, 3, 2]),
        (windows(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 4), &[2, 16, 6, 10], &[40, 4, 3, 3]),
        (windows(&[3], &[2], &[5], &[2], 2), &[2, 10, 50], &[18, 5, 7]),
        (windows(&[1, 2, 1], &[1, 1, 2], &[1, 0, 2], &[0, 1, 2], 1), &[1, 6, 5, 7, 9], &[33, 6, 2, 3, 3]),
        (same(3, 1), &[0, 8, 4, 4], &[8, 8, 3, 3]),
    ];
    let mut regions = Vec::new();
    for (index, (op, x, w)) in cases.into_iter().enumerate() {
        for (has_bias, is_fused) in [(false, false), (true, false), (true, true)] {
            let data_type = if (index + usize::from(is_fused)) % 2 == 0 { DataType::F16 } else { DataType::Bf16 };
            regions.push(convolution(op.clone(), data_type, [x, w], has_bias, is_fused));
        }
    }
    agree(&*device, &regions);
}

/// Prints the speed of layers of residual networks; no figure is a condition.
#[test]
fn figures_of_convolutions() {
    let Some(device) = device() else { return };
    // Images, channels, side, output channels, taps, stride.
    let rows: &[[usize; 6]] = &[
        [32, 3, 224, 64, 7, 2],
        [32, 64, 56, 64, 3, 1],
        [32, 128, 28, 128, 3, 1],
        [32, 256, 14, 256, 3, 1],
        [32, 512, 7, 512, 3, 1],
        [32, 256, 56, 128, 1, 1],
        [32, 1024, 14, 256, 1, 1],
        [1, 256, 14, 256, 3, 1],
    ];
    let layer = |&[n, c, side, m, taps, stride]: &[usize; 6]| {
        convolution(same(taps, stride), DataType::F16, [&[n, c, side, side], &[m, c, taps, taps]], true, false)
    };
    let regions: Vec<Region> = rows.iter().map(layer).collect();
    let target = device.target();
    compile_all(&regions, target, usize::MAX);
    for ([n, c, side, m, taps, stride], region) in rows.iter().zip(&regions) {
        for tactic in Cuda::device_tactics() {
            let problem = Problem { region, target, sizing: &Sizing::default() };
            for candidate in tactic.offer(&problem, usize::MAX).unwrap_or_default() {
                let code = tactic.compile(&candidate.recipe, region, target).expect("code").expect("machine code");
                let seconds = time_of(&*device, region, &candidate.recipe, &code, 4);
                let operations = 2 * n * m * side.div_ceil(*stride).pow(2) * c * taps * taps;
                println!(
                    "figure: {n}x{c}x{side} {m}x{taps}/{stride}: {:.1} us, {:.0} TFLOP/s, expected {:.1}; {}",
                    seconds * 1e6,
                    operations as f64 / seconds / 1e12,
                    candidate.estimate / 1e3,
                    candidate.recipe
                );
            }
        }
    }
}
