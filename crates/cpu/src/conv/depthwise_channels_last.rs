//! `cpu.conv.depthwise_channels_last.f32`: convolution of each channel by itself, channels last, with an epilogue.
//!
//! The elements that a window reads at one kernel position are a vector over the channels; an output pixel is a sum of
//! such vectors times vectors of weights, which are packed as [kernel..., C]. Positions in the border are left out.
#![allow(unsafe_code, reason = "vector instructions on slices whose lengths are checked before")]
#![allow(clippy::erasing_op, clippy::identity_op, reason = "unrolled code multiplies by 0 and 1")]

use sinter_backend::{End, KernelError, Refusal, Region, StrideSupport};
use sinter_base::{Dim, Sizes, Tensor};
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;

use crate::conv::channels_last::{heavy, image_and_weight, missing, rows_of_other_length};
use crate::conv::geometry::Geometry;
use crate::fused::Fused;
use crate::launch::{Kernel, Launch, Loaded, Scratch, Workers};
use crate::packed::{Fit, PackedRow, no_extra, one_recipe, packed_elements, packed_tensor};
use crate::product::epilogue::{Epilogue, Plan, Rest};
use crate::share::{Cost, share};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const DEPTHWISE: PackedRow = PackedRow {
    name: "cpu.conv.depthwise_channels_last.f32",
    roots: &[OpKind::Convolution],
    speed: Speed { per_byte: 0.1, per_operation: 0.004 },
    extra: no_extra,
    recipes: one_recipe,
    fit: |region, _| fit(region),
    pack: pack_weight,
};

/// Channels that are summed in registers at once.
const LANES: usize = 64;

fn fit(region: &Region) -> Result<Fit, Refusal> {
    let fused = Fused::of(region)?;
    let op = heavy(&fused)?;
    let (_, weight) = image_and_weight(&fused)?;
    if fused.plain_source {
        return Err(Refusal::new("channels of the image are not last"));
    }
    if weight[1] != 1 || weight[0] != op.groups {
        return Err(Refusal::new(format!("weights of sizes {weight:?} instead of one channel in and out per group")));
    }
    let packed = fused.operand(1).ok_or_else(missing)?;
    let kernel = Loaded::Kernel(Box::new(Depthwise {
        x: fused.operand(0).ok_or_else(missing)?,
        w: packed,
        weight,
        epilogue: fused.epilogue(fused.operand(2))?,
        op: op.clone(),
        tier: Tier::in_use(),
    }));
    Ok(Fit { kernel, packed: vec![packed], workspace: Dim::constant(0), in_place: Vec::new() })
}

pub(crate) fn pack_weight(_: &Region, _: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let values = weight.elements::<f32>().map_err(|e| KernelError::Data(e.to_string()))?;
    let (channels, taps) = (weight.sizes()[0], weight.sizes()[2..].iter().product::<usize>());
    packed_tensor((0..taps * channels).map(|i| values[i % channels * taps + i / channels]).collect())
}

struct Depthwise {
    x: usize,
    w: usize,
    weight: Vec<usize>,
    epilogue: Plan,
    op: Convolution,
    tier: Tier,
}

impl Kernel for Depthwise {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w) = (launch.input(self.x)?, launch.input(self.w)?);
        let y_sizes = Sizes::from_slice(launch.output(0).sizes());
        let geometry = Geometry::channels_last(&self.op, x.sizes(), &y_sizes, &self.weight);
        let channels = self.weight[0];
        let taps = geometry.kernel.iter().product::<usize>();
        let x_step = x.step_of(channels).ok_or_else(rows_of_other_length)?;
        let pixels = Pixels {
            x: (x.span::<f32>(), x_step),
            w: packed_elements(w, taps * channels)?,
            geometry,
            channels,
            epilogue: self.epilogue.bind(launch, &y_sizes)?,
            tier: self.tier,
            scratch: launch.scratch,
        };
        let workers = launch.workers;
        let y = launch.outputs[0].view();
        let y_step = y.step_of(channels).ok_or_else(rows_of_other_length)?;
        pixels.reserve(workers);
        let cost = Cost::PerElement(taps * 2);
        share(workers, y.span::<f32>(), y_step, cost, |first, made| pixels.compute(first, made, y_step));
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        self.epilogue.stride_support(end, self.x)
    }
}

/// The convolution of a launch, pixel by pixel.
pub(crate) struct Pixels<'a> {
    /// The image, and elements from one pixel to the next.
    pub(crate) x: (&'a [f32], usize),
    pub(crate) w: &'a [f32],
    pub(crate) geometry: Geometry,
    pub(crate) channels: usize,
    pub(crate) epilogue: Epilogue<'a>,
    pub(crate) tier: Tier,
    pub(crate) scratch: &'a Scratch,
}

impl Pixels<'_> {
    fn taps(&self) -> usize {
        self.geometry.kernel.iter().product()
    }

    /// Sees to memory for all threads.
    pub(crate) fn reserve(&self, workers: &dyn Workers) {
        self.scratch.reserve::<[usize; 2]>(workers.count(), self.taps());
    }

    /// Pixels from index `first` on, so many elements apart.
    pub(crate) fn compute(&self, first: usize, pixels: &mut [f32], y_step: usize) {
        let Self { x: (x, x_step), w, geometry, channels, epilogue, tier, scratch } = self;
        let (x_step, channels, taps) = (*x_step, *channels, self.taps());
        let (mut places, mut met) = (scratch.allocate::<[usize; 2]>(taps), 0);
        let mut columns = epilogue.rest.as_ref().map(Rest::columns);
        // Distance of the taps of this pixel from those in the list, which belongs to an earlier pixel.
        let mut shift = None;
        let (stride, reach) = (geometry.stride[2], (geometry.kernel[2].max(1) - 1) * geometry.dilation[2]);
        let is_inside = |x: usize| {
            let start = (x * stride) as i64 - geometry.begin[2];
            start >= 0 && start + (reach as i64) < geometry.input[2] as i64
        };
        for (i, pixel) in pixels.chunks_mut(y_step.max(1)).map(|row| &mut row[..channels]).enumerate() {
            let index = first + i;
            let (image, output) = geometry.output_at(index);
            // Along a row, windows inside the image meet the same taps, one stride further.
            let follows = output[2] > 0 && is_inside(output[2]) && is_inside(output[2] - 1);
            let at = match shift.filter(|_| follows) {
                Some(before) => before + stride * x_step,
                None => {
                    let origin = geometry.origin(image, output);
                    let inside =
                        (0..taps).filter_map(|tap| Some([geometry.met(origin, tap)? * x_step, tap * channels]));
                    met = places.iter_mut().zip(inside).map(|(place, tap)| *place = tap).count();
                    0
                }
            };
            shift = Some(at);
            let x = x.get(at..).unwrap_or_default();
            let sum = Sum { x, w, taps: &places[..met], bias: epilogue.bias, clamp: epilogue.clamp };
            sum.compute(*tier, pixel);
            if let (Some(rest), Some(columns)) = (&epilogue.rest, &mut columns) {
                rest.apply(*tier, index, 0, pixel, columns);
            }
        }
    }
}

/// One output pixel.
struct Sum<'a> {
    x: &'a [f32],
    w: &'a [f32],
    /// Start of the vectors of the image and of the weights.
    taps: &'a [[usize; 2]],
    bias: Option<&'a [f32]>,
    clamp: (f32, f32),
}

impl Sum<'_> {
    fn compute(&self, tier: Tier, pixel: &mut [f32]) {
        let channels = pixel.len();
        assert!(self.taps.iter().all(|[x, w]| x + channels <= self.x.len() && w + channels <= self.w.len()));
        assert!(self.bias.is_none_or(|bias| bias.len() >= channels));
        match tier {
            // SAFETY: the tier in use is never above what the machine has; lengths were checked.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { self.avx512(pixel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { self.avx2(pixel) },
            _ => self.scalar(0, pixel),
        }
    }

    /// Channels from `first` on.
    fn scalar(&self, first: usize, pixel: &mut [f32]) {
        for (c, y) in pixel.iter_mut().enumerate().skip(first) {
            let start = self.bias.map_or(0.0, |bias| bias[c]);
            let sum = self.taps.iter().fold(start, |sum, [x, w]| sum + self.x[x + c] * self.w[w + c]);
            let low = if sum < self.clamp.0 { self.clamp.0 } else { sum };
            *y = if low > self.clamp.1 { self.clamp.1 } else { low };
        }
    }

    /// # Safety
    /// AVX-512 F exists; all taps and the bias have as many elements as the pixel.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512(&self, pixel: &mut [f32]) {
        use std::arch::x86_64::*;
        let (x, w, channels) = (self.x.as_ptr(), self.w.as_ptr(), pixel.len());
        let (low, high) = (_mm512_set1_ps(self.clamp.0), _mm512_set1_ps(self.clamp.1));
        let y = pixel.as_mut_ptr();
        let mut c = 0;
        // SAFETY: c + LANES, or the masked lanes, stay below the number of channels.
        unsafe {
            while c + LANES <= channels {
                seq_macro::seq!(P in 0..4 {
                    let mut sum~P = match self.bias {
                        Some(bias) => _mm512_loadu_ps(bias.as_ptr().add(c + P * 16)),
                        None => _mm512_setzero_ps(),
                    };
                });
                for &[from, weight] in self.taps {
                    let (x, w) = (x.add(from + c), w.add(weight + c));
                    seq_macro::seq!(P in 0..4 {
                        sum~P = _mm512_fmadd_ps(_mm512_loadu_ps(x.add(P * 16)), _mm512_loadu_ps(w.add(P * 16)), sum~P);
                    });
                }
                seq_macro::seq!(P in 0..4 {
                    _mm512_storeu_ps(y.add(c + P * 16), _mm512_min_ps(high, _mm512_max_ps(low, sum~P)));
                });
                c += LANES;
            }
            while c + 32 <= channels {
                seq_macro::seq!(P in 0..2 {
                    let mut sum~P = match self.bias {
                        Some(bias) => _mm512_loadu_ps(bias.as_ptr().add(c + P * 16)),
                        None => _mm512_setzero_ps(),
                    };
                });
                for &[from, weight] in self.taps {
                    let (x, w) = (x.add(from + c), w.add(weight + c));
                    seq_macro::seq!(P in 0..2 {
                        sum~P = _mm512_fmadd_ps(_mm512_loadu_ps(x.add(P * 16)), _mm512_loadu_ps(w.add(P * 16)), sum~P);
                    });
                }
                seq_macro::seq!(P in 0..2 {
                    _mm512_storeu_ps(y.add(c + P * 16), _mm512_min_ps(high, _mm512_max_ps(low, sum~P)));
                });
                c += 32;
            }
            while c < channels {
                let lanes = (channels - c).min(16);
                let mask: u16 = if lanes == 16 { u16::MAX } else { (1 << lanes) - 1 };
                let mut sum = match self.bias {
                    Some(bias) => _mm512_maskz_loadu_ps(mask, bias.as_ptr().add(c)),
                    None => _mm512_setzero_ps(),
                };
                for &[from, weight] in self.taps {
                    let x = _mm512_maskz_loadu_ps(mask, x.add(from + c));
                    let w = _mm512_maskz_loadu_ps(mask, w.add(weight + c));
                    sum = _mm512_fmadd_ps(x, w, sum);
                }
                _mm512_mask_storeu_ps(y.add(c), mask, _mm512_min_ps(high, _mm512_max_ps(low, sum)));
                c += 16;
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA exist; all taps and the bias have as many elements as the pixel.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(&self, pixel: &mut [f32]) {
        use std::arch::x86_64::*;
        let (x, w, channels) = (self.x.as_ptr(), self.w.as_ptr(), pixel.len());
        let (low, high) = (_mm256_set1_ps(self.clamp.0), _mm256_set1_ps(self.clamp.1));
        let y = pixel.as_mut_ptr();
        let mut c = 0;
        // SAFETY: c + 32 stays below the number of channels.
        unsafe {
            while c + 32 <= channels {
                seq_macro::seq!(P in 0..4 {
                    let mut sum~P = match self.bias {
                        Some(bias) => _mm256_loadu_ps(bias.as_ptr().add(c + P * 8)),
                        None => _mm256_setzero_ps(),
                    };
                });
                for &[from, weight] in self.taps {
                    let (x, w) = (x.add(from + c), w.add(weight + c));
                    seq_macro::seq!(P in 0..4 {
                        sum~P = _mm256_fmadd_ps(_mm256_loadu_ps(x.add(P * 8)), _mm256_loadu_ps(w.add(P * 8)), sum~P);
                    });
                }
                seq_macro::seq!(P in 0..4 {
                    _mm256_storeu_ps(y.add(c + P * 8), _mm256_min_ps(high, _mm256_max_ps(low, sum~P)));
                });
                c += 32;
            }
        }
        self.scalar(c, pixel);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::machine_code::{Work, assert_in_registers, kernel};

    #[test]
    fn sums_stay_in_registers() {
        assert_in_registers(&[
            // The last channels are one masked register.
            kernel!(Sum::avx512, Zmm, Work::MultiplyAdds(1)),
            kernel!(Sum::avx2, Ymm, Work::MultiplyAdds(4)),
        ]);
    }
}
