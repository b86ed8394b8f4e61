//! `cpu.conv.depthwise.f32`: convolution of each channel by itself, one or two spatial axes.
//!
//! The kernel copies a plane once into padded rows, each split by the phase of its columns modulo the stride: the
//! elements that one tap of a kernel row reads are then neighbours, for any stride and dilation. It computes results in
//! strips of a fixed number of columns that stay in registers over all taps, without a test for the border. The sums
//! are named variables: for an array of them, the compiler would split vectors again for every tap.
#![allow(unsafe_code, reason = "vector instructions on slices whose lengths are checked before")]
#![allow(clippy::erasing_op, clippy::identity_op, reason = "unrolled code multiplies by 0 and 1")]

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;
use sinter_ops::window::{Axis, Padding};

use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;
use crate::window::Slide;

/// See the module documentation.
pub const DEPTHWISE: Row = Row {
    name: "cpu.conv.depthwise.f32",
    roots: &[OpKind::Convolution],
    numerics: Numerics::Reassociated,
    in_place: &[],
    // Twice the estimated speed of the matrix product, which would multiply mostly empty tiles.
    speed: Speed { per_byte: 0.1, per_operation: 0.015 },
    kernel,
};

/// The kernel copies rows with their border; other kernels handle wider borders.
const MAX_BORDER: i64 = 1 << 12;

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Convolution);
    let (Some(x), Some(w)) = (region.input(0), region.input(1)) else {
        return Err(Refusal::new("an operand is no tensor"));
    };
    if x.data_type != DataType::F32 {
        return Err(Refusal::new(format!("element type {} instead of f32", x.data_type)));
    }
    if !(1..=2).contains(&op.strides.len()) {
        return Err(Refusal::new(format!("{} spatial axes, at most 2", op.strides.len())));
    }
    let kernel =
        w.dims().ok().and_then(|dims| dims.iter().skip(1).map(|d| d.as_constant()).collect::<Option<Vec<_>>>());
    let kernel = match kernel.as_deref() {
        Some([1, kernel @ ..]) if kernel.len() == op.strides.len() => kernel.to_vec(),
        other => return Err(Refusal::new(format!("weights of sizes {other:?} instead of one channel per group"))),
    };
    let reach = |(size, &dilation): (&i64, &usize)| {
        i64::try_from(dilation).unwrap_or(i64::MAX).saturating_mul(size.saturating_sub(1))
    };
    let pads = match &op.padding {
        Padding::Explicit { begin, end } => begin.iter().chain(end).copied().max().unwrap_or(0),
        Padding::SameUpper | Padding::SameLower | Padding::Valid => 0,
    };
    let widest = kernel.iter().zip(&op.dilations).map(reach).chain([pads]).max().unwrap_or(0);
    if widest > MAX_BORDER {
        return Err(Refusal::new(format!("a border of {widest} elements, at most {MAX_BORDER}")));
    }
    Ok(Loaded::Kernel(Box::new(Depthwise { op: op.clone(), tier: Tier::in_use() })))
}

struct Depthwise {
    op: Convolution,
    tier: Tier,
}

/// Columns of a strip: enough independent sums to keep the units busy, few enough for the registers of every tier.
const STRIP: usize = 32;

/// The data of one channel of the result.
struct Channel<'a> {
    /// The plane in padded rows.
    padded: &'a [f32],
    w: &'a [f32],
    bias: f32,
}

/// One plane's problem, the same for all planes.
struct Plane<'r> {
    rows: Slide,
    columns: Slide,
    /// Elements of a phase of a padded row.
    phase: usize,
    /// Elements of a padded row.
    padded: usize,
    /// Start of the elements that a tap reads for result 0, in a padded row.
    column_taps: ScratchBuffer<'r, usize>,
}

impl<'r> Plane<'r> {
    fn new(rows: Slide, columns: Slide, scratch: &'r Scratch) -> Self {
        let reach = columns.kernel.saturating_sub(1).saturating_mul(columns.dilation);
        let phase = columns.output.next_multiple_of(STRIP) + reach / columns.stride + 1;
        let column_taps = scratch.list((0..columns.kernel).map(|tap| {
            let offset = tap * columns.dilation;
            offset % columns.stride * phase + offset / columns.stride
        }));
        Self { phase, padded: phase * columns.stride.min(reach + 1), column_taps, rows, columns }
    }

    /// Copies a plane into padded rows: the element that output o meets at distance d is at phase `d % stride`,
    /// position `o + d / stride`.
    fn spread(&self, x: &[f32], padded: &mut [f32]) {
        let width = self.columns.input;
        padded.fill(0.0);
        let stride = self.columns.stride;
        for (source, target) in x.chunks_exact(width.max(1)).zip(padded.chunks_exact_mut(self.padded)) {
            for (phase, target) in target.chunks_exact_mut(self.phase).enumerate() {
                // Position p of this phase holds column p * stride + phase - begin; the first ones may lie before
                // the plane.
                let before = self.columns.begin.saturating_sub(phase as i64);
                let (skip, start) = match usize::try_from(before) {
                    Ok(before) => {
                        let skip = before.div_ceil(stride);
                        (skip, skip.saturating_mul(stride) - before)
                    }
                    Err(_) => (0, usize::try_from(before.saturating_neg()).unwrap_or(usize::MAX)),
                };
                let Some(source) = source.get(start..) else { continue };
                let Some(target) = target.get_mut(skip..) else { continue };
                if stride == 1 {
                    let count = source.len().min(target.len());
                    target[..count].copy_from_slice(&source[..count]);
                } else {
                    target.iter_mut().zip(source.iter().step_by(stride)).for_each(|(t, s)| *t = *s);
                }
            }
        }
    }

    /// The results of a plane, with the vector width of the tier. `met` has space for all taps.
    fn convolve(&self, tier: Tier, channel: &Channel<'_>, met: &mut [[usize; 2]], y: &mut [f32]) {
        let kernel = self.columns.kernel;
        for (output, row) in y.chunks_exact_mut(self.columns.output).enumerate() {
            let lines = (0..self.rows.kernel).filter_map(|tap| Some((tap, self.rows.source(output, tap)?)));
            let taps = lines.flat_map(|(tap, line)| {
                let columns = self.column_taps.iter().enumerate();
                columns.map(move |(column, at)| [line * self.padded + at, tap * kernel + column])
            });
            let count = met.iter_mut().zip(taps).map(|(met, tap)| *met = tap).count();
            for (strip, target) in row.chunks_mut(STRIP).enumerate() {
                let strip = Strip { channel, first: strip * STRIP, taps: &met[..count] };
                let mut sums = [0.0; STRIP];
                strip.compute(tier, &mut sums);
                target.copy_from_slice(&sums[..target.len()]);
            }
        }
    }
}

/// Neighbouring results of one row.
struct Strip<'a> {
    channel: &'a Channel<'a>,
    /// Their first column.
    first: usize,
    /// Position in the padded plane of the element that column 0 reads, and its weight.
    taps: &'a [[usize; 2]],
}

impl Strip<'_> {
    fn compute(&self, tier: Tier, sums: &mut [f32; STRIP]) {
        match tier {
            // SAFETY: the tier in use is never above what the machine was detected to have.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { self.avx512(sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { self.avx2(sums) },
            _ => self.scalar(sums),
        }
    }

    fn scalar(&self, sums: &mut [f32; STRIP]) {
        let Channel { padded, w, bias } = self.channel;
        sums.fill(*bias);
        for &[at, weight] in self.taps {
            let values = &padded[self.first + at..][..STRIP];
            sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += w[weight] * v);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn avx512(&self, sums: &mut [f32; STRIP]) {
        use std::arch::x86_64::*;
        let Channel { padded, w, bias } = self.channel;
        seq_macro::seq!(P in 0..2 { let mut sum~P = _mm512_set1_ps(*bias); });
        for &[at, weight] in self.taps {
            let (weight, values) = (_mm512_set1_ps(w[weight]), padded[self.first + at..][..STRIP].as_ptr());
            // SAFETY: a strip of values is two registers.
            seq_macro::seq!(P in 0..2 { unsafe {
                sum~P = _mm512_fmadd_ps(weight, _mm512_loadu_ps(values.add(P * 16)), sum~P);
            } });
        }
        // SAFETY: as above.
        seq_macro::seq!(P in 0..2 { unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(P * 16), sum~P) }; });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, sums: &mut [f32; STRIP]) {
        use std::arch::x86_64::*;
        let Channel { padded, w, bias } = self.channel;
        seq_macro::seq!(P in 0..4 { let mut sum~P = _mm256_set1_ps(*bias); });
        for &[at, weight] in self.taps {
            let (weight, values) = (_mm256_set1_ps(w[weight]), padded[self.first + at..][..STRIP].as_ptr());
            // SAFETY: a strip of values is four registers.
            seq_macro::seq!(P in 0..4 { unsafe {
                sum~P = _mm256_fmadd_ps(weight, _mm256_loadu_ps(values.add(P * 8)), sum~P);
            } });
        }
        // SAFETY: as above.
        seq_macro::seq!(P in 0..4 { unsafe { _mm256_storeu_ps(sums.as_mut_ptr().add(P * 8), sum~P) }; });
    }
}

impl Kernel for Depthwise {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w, bias) = (launch.input(0)?, launch.input(1)?, launch.optional(2));
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0);
        let spatial = self.op.strides.len();
        let slide = |index: usize| {
            let (stride, dilation) = (self.op.strides[index], self.op.dilations[index]);
            let axis = Axis { stride, dilation, padding: &self.op.padding, index, ceil: false };
            Slide::new(&axis, x.sizes()[index + 2], y.sizes()[index + 2], w.sizes()[index + 2])
        };
        let rows = if spatial == 2 { slide(0) } else { Slide::single() };
        let plane = Plane::new(rows, slide(spatial - 1), scratch);
        let padded = plane.rows.input * plane.padded;
        scratch.reserve::<f32>(workers.count(), padded);
        let (inputs, outputs) = (x.sizes()[1], y.sizes()[1]);
        let x_plane = plane.rows.input * plane.columns.input;
        let y_plane = plane.rows.output * plane.columns.output;
        let taps = plane.rows.kernel * plane.columns.kernel;
        scratch.reserve::<[usize; 2]>(workers.count(), taps);
        let multiplier = (outputs / inputs.max(1)).max(1);
        let (x, w) = (x.elements::<f32>(), w.elements::<f32>());
        let bias = bias.map(|b| b.elements::<f32>());
        share(workers, y.elements::<f32>(), y_plane, Cost::PerElement(2 * taps), |first, chunk| {
            let (mut padded, mut met) = (scratch.allocate(padded), scratch.allocate(taps));
            let mut spread = usize::MAX;
            for (i, target) in chunk.chunks_exact_mut(y_plane).enumerate() {
                let (sample, output) = ((first + i) / outputs, (first + i) % outputs);
                let input = sample * inputs + output / multiplier;
                if spread != input {
                    plane.spread(&x[input * x_plane..(input + 1) * x_plane], &mut padded);
                    spread = input;
                }
                let w = &w[output * taps..(output + 1) * taps];
                let channel = Channel { padded: &padded, w, bias: bias.map_or(0.0, |b| b[output]) };
                plane.convolve(self.tier, &channel, &mut met, target);
            }
        });
        Ok(())
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::machine_code::{Work, assert_in_registers, kernel};

    #[test]
    fn sums_stay_in_registers() {
        assert_in_registers(&[
            kernel!(Strip::avx512, Zmm, Work::MultiplyAdds(2)),
            kernel!(Strip::avx2, Ymm, Work::MultiplyAdds(4)),
        ]);
    }
}
