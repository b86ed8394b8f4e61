//! `cpu.conv.separable.f32`: a depthwise convolution followed by a pointwise (1x1) convolution, channels last.
//!
//! The pixels of the first convolution are rows of the left operand of the second. A task computes a block of them in
//! its scratch buffer, applies the pointwise operator between the two, and multiplies the block while it is in the
//! cache: the intermediate image is never stored. Each convolution uses the code of its own kernel, so the bits are the
//! same.

use std::ops::Range;

use sinter_backend::{End, KernelError, Refusal, Region, StrideSupport};
use sinter_base::{DataType, Dim, Sizes, Tensor};
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;

use crate::conv::channels_last::{has_no_padding, heavy, image_and_weight, missing, rows_of_other_length};
use crate::conv::depthwise_channels_last::{self as depthwise, Pixels};
use crate::conv::geometry::Geometry;
use crate::fused::{Fused, pair};
use crate::launch::{Kernel, Launch, Loaded, Scratch};
use crate::packed::{Fit, PackedRow, no_extra, one_recipe, packed_elements, packed_once, packed_tensor};
use crate::product::batched::{MadeRows, compute, reserve};
use crate::product::blocks::Blocks;
use crate::product::epilogue::Plan;
use crate::product::panel::{pack, packed_len};
use crate::product::rows::{Matrix, RowProduct};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const SEPARABLE: PackedRow = PackedRow {
    name: "cpu.conv.separable.f32",
    roots: &[OpKind::Convolution],
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    extra: no_extra,
    recipes: one_recipe,
    fit: |region, _| fit(region),
    pack: pack_weight,
};

fn fit(region: &Region) -> Result<Fit, Refusal> {
    let (first, second) = pair(region)?;
    let (_, window) = depthwise_weight(&first)?;
    let (op, (_, weight)) = (heavy(&second)?, image_and_weight(&second)?);
    let is_single_pixel = weight[2..].iter().all(|size| *size == 1)
        && op.strides.iter().all(|stride| *stride == 1)
        && has_no_padding(&op.padding);
    if !is_single_pixel || op.groups != 1 {
        return Err(Refusal::new("the second convolution has windows of several pixels, or groups"));
    }
    if second.input(0).map(|ty| ty.data_type) != Some(DataType::F32) {
        return Err(Refusal::new("another element type than f32"));
    }
    let kernel = Separable {
        x: first.operand(0).ok_or_else(missing)?,
        window: first.operand(1).ok_or_else(missing)?,
        weight: second.operand(1).ok_or_else(missing)?,
        channels: window[0],
        columns: weight[0],
        between: first.epilogue(first.operand(2))?,
        behind: second.epilogue(second.operand(2))?,
        sizes: window,
        op: heavy(&first)?.clone(),
        tier: Tier::in_use(),
    };
    let packed = vec![kernel.window, kernel.weight];
    packed_once(&packed)?;
    let kernel = Loaded::Kernel(Box::new(kernel));
    Ok(Fit { kernel, packed, workspace: Dim::constant(0), in_place: Vec::new() })
}

/// The image and the sizes of the weight of a depthwise convolution.
fn depthwise_weight<'f>(fused: &'f Fused<'_>) -> Result<(&'f [Dim], Vec<usize>), Refusal> {
    let (op, (image, weight)) = (heavy(fused)?, image_and_weight(fused)?);
    if weight[1] != 1 || weight[0] != op.groups || fused.plain_source {
        return Err(Refusal::new(format!("weights of sizes {weight:?} instead of one channel in and out per group")));
    }
    Ok((image, weight))
}

fn pack_weight(region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let wrong = |refusal: Refusal| KernelError::Recipe(refusal.to_string());
    let (first, _) = pair(region).map_err(wrong)?;
    if first.operand(1) == Some(operand) {
        return depthwise::pack_weight(region, operand, weight);
    }
    let values = weight.elements::<f32>().map_err(|e| KernelError::Data(e.to_string()))?;
    let (columns, inner) = (weight.sizes()[0], weight.sizes()[1]);
    let mut packed = vec![0.0; packed_len(inner, columns)];
    pack(inner, columns, |k| (&values[k..], inner), &mut packed);
    packed_tensor(packed)
}

struct Separable {
    x: usize,
    /// The operands that are the weights of the first and of the second.
    window: usize,
    weight: usize,
    channels: usize,
    columns: usize,
    between: Plan,
    behind: Plan,
    /// Of the first one's weight.
    sizes: Vec<usize>,
    op: Convolution,
    tier: Tier,
}

/// The pixels of the first convolution as rows.
struct Made<'a> {
    pixels: Pixels<'a>,
    rows: usize,
}

impl MadeRows for Made<'_> {
    fn count(&self) -> usize {
        self.rows
    }

    fn inner(&self) -> usize {
        self.pixels.channels
    }

    fn scratch(&self) -> &Scratch {
        self.pixels.scratch
    }

    fn make(&self, _: Tier, rows: Range<usize>, made: &mut [f32]) {
        self.pixels.compute(rows.start, made, self.pixels.channels);
    }
}

impl Kernel for Separable {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let Self { channels, columns, tier, .. } = *self;
        let (x, window, weight) = (launch.input(self.x)?, launch.input(self.window)?, launch.input(self.weight)?);
        let y_sizes = Sizes::from_slice(launch.output(0).sizes());
        let mut between = y_sizes.clone();
        if let Some(last) = between.last_mut() {
            *last = channels;
        }
        let geometry = Geometry::channels_last(&self.op, x.sizes(), &between, &self.sizes);
        let taps = geometry.kernel.iter().product::<usize>();
        let x_step = x.step_of(channels).ok_or_else(rows_of_other_length)?;
        let pixels = Pixels {
            x: (x.span::<f32>(), x_step),
            w: packed_elements(window, taps * channels)?,
            geometry,
            channels,
            epilogue: self.between.bind(launch, &between)?,
            tier,
            scratch: launch.scratch,
        };
        let behind = self.behind.bind(launch, &y_sizes)?;
        let rows = y_sizes.iter().rev().skip(1).product();
        pixels.reserve(launch.workers);
        reserve(launch.scratch, launch.workers, rows, channels);
        let b = packed_elements(weight, packed_len(channels, columns))?;
        let y = launch.outputs[0].view();
        let step = y.step_of(columns).ok_or_else(rows_of_other_length)?;
        let a = Matrix { data: &[], first: 0, rows, inner: channels, step: channels };
        let product = RowProduct { a: &a, b, columns, step, epilogue: &behind, blocks: Blocks::default() };
        compute(std::iter::once((product, y.span::<f32>())), Some(&Made { pixels, rows }), tier, launch.workers);
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            End::Result(_) => StrideSupport::LastAxis,
            End::Operand(operand) if operand == self.x => StrideSupport::LastAxis,
            End::Operand(_) => StrideSupport::Contiguous,
        }
    }
}
