//! `cpu.pool.channels_last.f32`: largest element or average of windows of channels-last images.
//!
//! The elements that a window meets at one position are a vector over the channels, and pooling folds such vectors. One
//! window over everything is an average or maximum of all pixels.

use std::ops::Range;

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::DataType;
use sinter_ops::pool::{Pool, PoolMode};
use sinter_ops::window::{Axis, Padding};
use sinter_ops::{Op, OpKind};
use smallvec::SmallVec;

use crate::conv::channels_last::rows_of_other_length;
use crate::fused::Fused;
use crate::launch::{Kernel, Launch, Loaded};
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// See the module documentation.
pub const CHANNELS_LAST: Row = Row {
    name: "cpu.pool.channels_last.f32",
    roots: &[OpKind::Pool],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed { per_byte: 0.1, per_operation: 0.02 },
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let fused = Fused::of(region)?;
    let Op::Pool(op) = &fused.node.op else {
        return Err(Refusal::OtherOperator);
    };
    if !fused.channels_last || fused.plain_source || fused.epilogue.is_some() {
        return Err(Refusal::new("takes channels-last images, without an epilogue"));
    }
    let data_type = fused.input(0).map(|t| t.data_type);
    if data_type != Some(DataType::F32) {
        return Err(Refusal::new(format!("element type {data_type:?} instead of f32")));
    }
    check(op, fused.product_dims().len())?;
    Ok(Loaded::Kernel(Box::new(ChannelsLast { op: op.clone(), tier: Tier::in_use() })))
}

/// Can [`Pooling`] compute the operator on tensors of this rank?
///
/// # Errors
/// Why it cannot.
pub(crate) fn check(op: &Pool, rank: usize) -> Result<(), Refusal> {
    if matches!(op.mode, PoolMode::Norm { .. }) {
        return Err(Refusal::new("norms are not for this kernel"));
    }
    if let Some(Padding::Explicit { begin, end }) = op.window.as_ref().map(|w| &w.padding)
        && begin.iter().chain(end).any(|&pad| pad < 0)
    {
        return Err(Refusal::new("negative padding"));
    }
    if !(1..=MAX_AXES).contains(&rank.saturating_sub(2)) {
        return Err(Refusal::new("another number of spatial axes"));
    }
    Ok(())
}

/// Most spatial axes.
const MAX_AXES: usize = 6;

struct ChannelsLast {
    op: Pool,
    tier: Tier,
}

/// One spatial axis.
pub(crate) struct Steps {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    begin: i64,
    /// Positions below this one are input or padding.
    limit: i64,
}

impl Steps {
    fn at(&self, output: usize, tap: usize) -> i64 {
        (output * self.stride + tap * self.dilation) as i64 - self.begin
    }
}

/// Calls `each` with every position of the window of an output; positions are inside the input.
fn visit(axes: &[Steps], output: &[usize], pixel: usize, each: &mut dyn FnMut(usize)) {
    let Some((axis, axes)) = axes.split_first() else { return each(pixel) };
    for tap in 0..axis.kernel {
        let at = axis.at(output[0], tap);
        if at >= 0 && at < axis.input as i64 {
            visit(axes, &output[1..], pixel * axis.input + at as usize, each);
        }
    }
}

#[inline(always)]
fn largest(y: &mut [f32], x: &[f32]) {
    // NaN in either wins: the comparison is false for a NaN in y, which then stays.
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x > *y || x.is_nan() { x } else { *y });
}

#[inline(always)]
fn sum(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn fold_avx512(is_largest: bool, y: &mut [f32], x: &[f32]) {
    if is_largest { largest(y, x) } else { sum(y, x) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fold_avx2(is_largest: bool, y: &mut [f32], x: &[f32]) {
    if is_largest { largest(y, x) } else { sum(y, x) }
}

/// Runs a fold with the vector width of the tier.
#[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
fn fold(tier: Tier, is_largest: bool, y: &mut [f32], x: &[f32]) {
    match tier {
        // SAFETY: the tier in use is never above what the machine was detected to have.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { fold_avx512(is_largest, y, x) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { fold_avx2(is_largest, y, x) },
        _ if is_largest => largest(y, x),
        _ => sum(y, x),
    }
}

/// The pooling of channels-last images of concrete sizes.
pub(crate) struct Pooling<'a> {
    op: &'a Pool,
    tier: Tier,
    pub(crate) axes: SmallVec<[Steps; MAX_AXES]>,
    channels: usize,
}

impl<'a> Pooling<'a> {
    /// From the sizes of images and result.
    pub(crate) fn new(op: &'a Pool, tier: Tier, x: &[usize], y: &[usize]) -> Self {
        let axes = (0..x.len() - 2)
            .map(|index| {
                let (input, output) = (x[index + 1], y[index + 1]);
                let Some(window) = &op.window else {
                    let limit = input as i64;
                    return Steps { input, output, kernel: input, stride: 1, dilation: 1, begin: 0, limit };
                };
                let axis = Axis {
                    stride: window.strides[index],
                    dilation: window.dilations[index],
                    padding: &window.padding,
                    index,
                    ceil: window.ceil,
                };
                let kernel = window.kernel[index];
                let (begin, end) = axis.pads(input, kernel);
                Steps {
                    input,
                    output,
                    kernel,
                    stride: axis.stride,
                    dilation: axis.dilation,
                    begin,
                    limit: input as i64 + end,
                }
            })
            .collect();
        Self { op, tier, axes, channels: x.last().copied().unwrap_or(0) }
    }

    /// Elements of a window, those of the border included.
    pub(crate) fn window(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// The pixels of the images along the first axis that windows of these outputs may meet.
    pub(crate) fn rows(&self, outputs: &Range<usize>) -> Range<usize> {
        let axis = &self.axes[0];
        let inside = |at: i64| usize::try_from(at).unwrap_or(0).min(axis.input);
        let end = inside(axis.at(outputs.end.saturating_sub(1), axis.kernel.saturating_sub(1)) + 1);
        inside(axis.at(outputs.start, 0)).min(end)..end
    }

    /// Pools neighbouring windows, from result pixel `first` on, counted through all images. The images lie in `x`
    /// from pixel `from` on, `step` elements apart; pixels of the result lie `y_step` elements apart.
    pub(crate) fn compute(
        &self,
        (x, step, from): (&[f32], usize, usize),
        first: usize,
        pixels: &mut [f32],
        y_step: usize,
    ) {
        let Self { op, tier, axes, channels } = self;
        let is_largest = op.mode == PoolMode::Max;
        let outputs = axes.iter().map(|a| a.output).product::<usize>();
        for (i, y) in pixels.chunks_mut(y_step.max(1)).map(|row| &mut row[..*channels]).enumerate() {
            let index = first + i;
            let mut output = [0; MAX_AXES];
            let mut left = index % outputs;
            for (axis, steps) in axes.iter().enumerate().rev() {
                (output[axis], left) = (left % steps.output, left / steps.output);
            }
            y.fill(if is_largest { f32::NEG_INFINITY } else { 0.0 });
            let mut count = 0usize;
            visit(axes, &output[..axes.len()], index / outputs, &mut |pixel| {
                count += 1;
                fold(*tier, is_largest, y, &x[(pixel - from) * step..][..*channels]);
            });
            if let PoolMode::Average { count_padding } = op.mode {
                if count_padding {
                    let padded = |a: &Steps, o: usize| (0..a.kernel).filter(|&t| a.at(o, t) < a.limit).count();
                    count = axes.iter().zip(output).map(|(a, o)| padded(a, o)).product();
                }
                y.iter_mut().for_each(|v| *v /= count as f32);
            }
        }
    }
}

impl Kernel for ChannelsLast {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let sizes = x.sizes();
        let workers = launch.workers;
        let y = launch.output(0);
        let pooling = Pooling::new(&self.op, self.tier, sizes, y.sizes());
        let channels = sizes.last().copied().unwrap_or(0);
        let x_step = x.step_of(channels).ok_or_else(rows_of_other_length)?;
        let y_step = y.step_of(channels).ok_or_else(rows_of_other_length)?;
        let x = x.span::<f32>();
        share(workers, y.span::<f32>(), y_step, Cost::PerElement(pooling.window()), |first, pixels| {
            pooling.compute((x, x_step, 0), first, pixels, y_step);
        });
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        if matches!(end, End::Operand(0) | End::Result(0)) {
            StrideSupport::LastAxis
        } else {
            StrideSupport::Contiguous
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use iced_x86::Mnemonic;

    use crate::machine_code::{Work, assert_in_registers, kernel};

    #[test]
    fn folds_work_on_whole_vectors() {
        let (sum, largest) = (Work::Vectorized(Mnemonic::Vaddps), Work::Vectorized(Mnemonic::Vcmpps));
        assert_in_registers(&[
            kernel!(fold_avx512, Zmm, sum),
            kernel!(fold_avx512, Zmm, largest),
            kernel!(fold_avx2, Ymm, sum),
            kernel!(fold_avx2, Ymm, largest),
        ]);
    }
}
