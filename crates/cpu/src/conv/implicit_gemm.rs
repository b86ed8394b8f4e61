//! `cpu.conv.implicit_gemm.f32`: convolution as a matrix product whose right operand is never materialized.
//!
//! For each image and group, `Y[m, o] = sum over w of W[m, w] X[w, o]` with w running over channels and kernel taps and
//! o over output positions. The product packs its right operand in small strips; here the packing reads the windows
//! directly from the image. Up to three spatial axes; fewer are padded with axes of size 1.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;

use crate::conv::geometry::Geometry;
use crate::launch::{Kernel, Launch, Loaded};
use crate::matmul::gemm::{Product, Source, Strided};
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// See the module documentation.
pub const IMPLICIT_GEMM: Row = Row {
    name: "cpu.conv.implicit_gemm.f32",
    roots: &[OpKind::Convolution],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Convolution);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::F32) if (1..=3).contains(&op.strides.len()) => {
            Ok(Loaded::Kernel(Box::new(ImplicitGemm { op: op.clone(), tier: Tier::in_use() })))
        }
        Some(DataType::F32) => Err(Refusal::new(format!("{} spatial axes, at most 3", op.strides.len()))),
        other => Err(Refusal::new(format!("element type {other:?} instead of f32"))),
    }
}

struct ImplicitGemm {
    op: Convolution,
    tier: Tier,
}

/// The windows of one image's group.
struct Windows<'a> {
    image: &'a [f32],
    geometry: Geometry,
}

impl Source for Windows<'_> {
    #[inline]
    fn pack(&self, lane: usize, first: usize, count: usize, target: &mut [f32], step: usize) {
        if count == 0 {
            // A window without elements, whose taps cannot be counted.
            return;
        }
        let Geometry { input, kernel, dilation, .. } = self.geometry;
        let (_, at) = self.geometry.output_at(lane);
        let origin = self.geometry.origin(0, at).at;
        let taps: usize = kernel.iter().product();
        let plane: usize = input.iter().product();
        let mut channel = first / taps;
        let mut tap = self.geometry.tap_at(first % taps);
        for slot in target.iter_mut().step_by(step).take(count) {
            let position: [i64; 3] = std::array::from_fn(|i| origin[i] + (tap[i] * dilation[i]) as i64);
            let inside = (0..3).all(|i| position[i] >= 0 && position[i] < input[i] as i64);
            *slot = if inside {
                let [d, y, x] = position.map(|p| p as usize);
                self.image[channel * plane + (d * input[1] + y) * input[2] + x]
            } else {
                0.0
            };
            tap[2] += 1;
            if tap[2] == kernel[2] {
                tap = [tap[0], tap[1] + 1, 0];
                if tap[1] == kernel[1] {
                    tap = [tap[0] + 1, 0, 0];
                    if tap[0] == kernel[0] {
                        tap[0] = 0;
                        channel += 1;
                    }
                }
            }
        }
    }
}

impl Kernel for ImplicitGemm {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w, bias) = (launch.input(0)?, launch.input(1)?, launch.optional(2));
        let (x_sizes, w_sizes) = (x.sizes(), w.sizes());
        let y_sizes = sinter_base::Sizes::from_slice(launch.output(0).sizes());
        let geometry = Geometry::new(&self.op, &x_sizes[2..], &y_sizes[2..], &w_sizes[2..]);
        let Geometry { input, output, kernel, .. } = geometry;
        let (x_plane, y_plane): (usize, usize) = (input.iter().product(), output.iter().product());
        let window = w_sizes[1] * kernel.iter().product::<usize>();
        let groups = self.op.groups;
        let (group_inputs, group_outputs) = (w_sizes[1], w_sizes[0] / groups.max(1));
        let (x, w) = (x.elements::<f32>(), w.elements::<f32>());
        let bias = bias.map(|b| b.elements::<f32>());
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0).elements::<f32>();
        let block = group_outputs * y_plane;
        if block == 0 {
            return Ok(());
        }
        for (position, y) in y.chunks_exact_mut(block).enumerate() {
            let (n, group) = (position / groups, position % groups);
            let first_channel = n * x_sizes[1] + group * group_inputs;
            let windows =
                Windows { image: &x[first_channel * x_plane..(first_channel + group_inputs) * x_plane], geometry };
            let weights = &w[group * group_outputs * window..(group + 1) * group_outputs * window];
            Product {
                rows: group_outputs,
                columns: y_plane,
                inner: window,
                a: &Strided { data: weights, lane: window, inner: 1 },
                b: &windows,
                row_bias: bias.map(|b| &b[group * group_outputs..(group + 1) * group_outputs]),
            }
            .compute(self.tier, workers, scratch, y);
        }
        Ok(())
    }
}
