//! `cpu.conv.pooled.f32`: a convolution of channels-last images followed by a maximum or average pool.
//!
//! A task computes some rows of the pooled image, band by band: the rows of the convolution that the windows of a band
//! meet, with their epilogue, lie in its scratch buffer, which stays in the cache. Rows that the windows of the next band
//! meet again move to its front. The convolved image is never stored. Convolution and pool use the code of their own
//! kernels, so the bits are the same.

use std::ops::Range;

use sinter_backend::{End, KernelError, Problem, Refusal, Region, StrideSupport};
use sinter_base::{Dim, Sizes, Tensor};
use sinter_ops::pool::Pool;
use sinter_ops::{Op, OpKind};

use crate::conv::channels_last::{Branch, Windows, branch, heavy, missing, pack_of, rows_of_other_length};
use crate::conv::geometry::Geometry;
use crate::fused::pair;
use crate::launch::{Kernel, Launch, Loaded, Scratch, Workspace};
use crate::packed::{Fit, PackedRow, one_recipe, packed_elements};
use crate::pool::channels_last::{CHANNELS_LAST, Pooling, check};
use crate::product::blocks::Blocks;
use crate::product::rows::RowProduct;
use crate::share::share_in;
use crate::tactic::{Speed, bytes_of, estimate, estimate_part, spared};
use crate::tier::Tier;

/// See the module documentation.
pub const POOLED: PackedRow = PackedRow {
    name: "cpu.conv.pooled.f32",
    roots: &[OpKind::Convolution],
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    extra,
    recipes: one_recipe,
    fit: |region, _| fit(region),
    pack: pack_weight,
};

/// Elements of a band: half of a second-level cache of 1 MiB.
const BAND_ELEMENTS: usize = 128 * 1024;
/// Tasks for each worker. Rows at the border of two tasks are computed twice.
const TASKS_PER_WORKER: usize = 2;
/// Part of a convolution by which several threads finish later than with the many small tasks of two steps. Measured.
const COARSE: f64 = 0.03;

/// Two steps, less the traffic of the image between, and with the rows that two tasks compute both.
fn extra(problem: &Problem<'_>, speed: Speed) -> f64 {
    let Problem { region, sizing, target } = *problem;
    let Ok((first, second)) = pair(region) else { return 0.0 };
    let (nodes, all) = (first.nodes(), region.body().nodes().len());
    let convolution = estimate_part(region, sizing, 0..nodes, speed);
    let pool = estimate_part(region, sizing, nodes..all, CHANNELS_LAST.speed);
    let between = second.input(0).map_or(0.0, |ty| bytes_of(&ty.clone().into(), sizing));
    let Op::Pool(Pool { window: Some(window), .. }) = &second.node.op else { return 0.0 };
    let number = |dim: &Dim| sizing.evaluate(dim).unwrap_or(0).max(1) as f64;
    let rows = second.input(0).and_then(|ty| ty.dims().ok()).map_or(1.0, |dims| number(&dims[0]) * number(&dims[2]));
    let span = window.dilations[0].saturating_mul(window.kernel[0].saturating_sub(1)).saturating_add(1);
    let shared = span.saturating_sub(window.strides[0]) as f64;
    let again = match target.units {
        0 | 1 => 0.0,
        units => (shared * (TASKS_PER_WORKER * units - 1) as f64 / rows).min(1.0) + COARSE,
    };
    convolution * (1.0 + again) + pool - spared(between) - estimate(region, sizing, speed)
}

fn fit(region: &Region) -> Result<Fit, Refusal> {
    let (first, second) = pair(region)?;
    let Op::Pool(op) = &second.node.op else { return Err(Refusal::OtherOperator) };
    heavy(&first)?;
    if !second.channels_last || second.plain_source || second.epilogue.is_some() || op.window.is_none() {
        return Err(Refusal::new("takes pools with windows of channels-last images, without an epilogue"));
    }
    check(op, second.product_dims().len())?;
    let (convolution, workspace) = branch(&first)?;
    if convolution.op.groups != 1 {
        return Err(Refusal::new("takes convolutions without groups"));
    }
    let x = first.operand(0).ok_or_else(missing)?;
    let packed = vec![convolution.w];
    let kernel = Pooled { x, convolution, pool: op.clone(), tier: Tier::in_use() };
    Ok(Fit { kernel: Loaded::Kernel(Box::new(kernel)), packed, workspace, in_place: Vec::new() })
}

fn pack_weight(region: &Region, _operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let wrong = |refusal: Refusal| KernelError::Recipe(refusal.to_string());
    let (first, _) = pair(region).map_err(wrong)?;
    pack_of(heavy(&first).map_err(wrong)?, weight)
}

struct Pooled {
    x: usize,
    convolution: Branch,
    pool: Pool,
    tier: Tier,
}

/// What all tasks share.
struct Bands<'a, 'e> {
    product: RowProduct<'a, 'e, Windows<'a>>,
    pooling: Pooling<'a>,
    /// Pixels of one row of the convolved and of the pooled image.
    plane: usize,
    pooled_plane: usize,
    y_step: usize,
    tier: Tier,
}

impl Bands<'_, '_> {
    /// Rows of the pooled image in one band, and rows of the convolved image that its windows meet.
    fn sizes(&self) -> (usize, usize) {
        let row = (self.plane * self.product.columns).max(1);
        let meets = |outputs: usize| {
            // In the middle of the image, where no window is cut off.
            let axis = &self.pooling.axes[0];
            let span = axis.dilation.saturating_mul(axis.kernel.saturating_sub(1)).saturating_add(1);
            ((outputs - 1).saturating_mul(axis.stride).saturating_add(span)).min(axis.input.max(1))
        };
        let outputs = self.pooling.axes[0].output.max(1);
        let fits = |outputs: &usize| meets(*outputs) * row <= BAND_ELEMENTS;
        let most = (1..=outputs).take_while(fits).last().unwrap_or(1);
        (most, meets(most))
    }

    /// Computes rows of the pooled images, from row `first` on, counted through all images.
    fn compute(&self, first: usize, rows: &mut [f32], scratch: &Scratch) {
        let (most, height) = self.sizes();
        let row = self.plane * self.product.columns;
        let mut band = scratch.allocate::<f32>(height * row);
        let (outputs, inputs) = (self.pooling.axes[0].output, self.pooling.axes[0].input);
        let unit = self.pooled_plane * self.y_step;
        let count = rows.len().div_ceil(unit);
        // The image in the band, and which of its rows.
        let mut known: (usize, Range<usize>) = (0, 0..0);
        let mut done = 0;
        while done < count {
            let (image, from) = ((first + done) / outputs, (first + done) % outputs);
            let taken = most.min(outputs - from).min(count - done);
            let needed = self.pooling.rows(&(from..from + taken));
            let kept = match &known {
                (of, rows) if *of == image && rows.contains(&needed.start) => needed.start..rows.end.min(needed.end),
                _ => needed.start..needed.start,
            };
            if !kept.is_empty() {
                let at = (kept.start - known.1.start) * row;
                band.copy_within(at..at + kept.len() * row, 0);
            }
            let new = kept.end..needed.end;
            let before = image * inputs;
            if !new.is_empty() {
                let pixels = (before + new.start) * self.plane..(before + new.end) * self.plane;
                self.product.compute_rows(self.tier, pixels, &mut band[kept.len() * row..needed.len() * row]);
            }
            let target = &mut rows[done * unit..];
            let length = target.len().min(taken * unit);
            let x = (&band[..needed.len() * row], self.product.columns, (before + needed.start) * self.plane);
            self.pooling.compute(x, (first + done) * self.pooled_plane, &mut target[..length], self.y_step);
            known = (image, needed);
            done += taken;
        }
    }
}

impl Kernel for Pooled {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let Self { convolution, tier, .. } = self;
        let (x, w) = (launch.input(self.x)?, launch.input(convolution.w)?);
        let (columns, channels) = (convolution.weight[0], convolution.weight[1]);
        let spatial = convolution.op.strides.len();
        let image = if convolution.plain_source { &x.sizes()[2..] } else { &x.sizes()[1..=spatial] };
        let geometry = Geometry::of_input(&convolution.op, image, &convolution.weight[2..]);
        let mut between = Sizes::from_slice(&x.sizes()[..1]);
        between.extend_from_slice(&geometry.output[3 - spatial..]);
        between.push(columns);
        let epilogue = convolution.epilogue.bind(launch, &between)?;
        let x_step =
            if convolution.plain_source { channels } else { x.step_of(channels).ok_or_else(rows_of_other_length)? };
        let mut windows = convolution.windows((x.span::<f32>(), x_step), between[0], geometry);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.outputs[0].view();
        let pooling = Pooling::new(&self.pool, *tier, &between, y.sizes());
        let pooled_plane = y.sizes()[2..=spatial].iter().product();
        let y_step = y.step_of(columns).ok_or_else(rows_of_other_length)?;
        let b = packed_elements(w, convolution.packed_group())?;
        let y = y.span::<f32>();
        if y.is_empty() {
            return Ok(());
        }
        let mut workspace: Option<Workspace<'_, f32>> = None;
        if convolution.is_padded_row {
            let length = convolution.padded_len(&windows);
            let target = workspace.insert(Workspace::of(launch.workspace, scratch, length));
            windows = convolution.pad(windows, target, workers);
        }
        let bands = Bands {
            product: RowProduct {
                a: &windows,
                b,
                columns,
                step: columns,
                epilogue: &epilogue,
                blocks: Blocks::default(),
            },
            pooling,
            plane: between[2..=spatial].iter().product(),
            pooled_plane,
            y_step,
            tier: *tier,
        };
        let (_, height) = bands.sizes();
        scratch.reserve::<f32>(workers.count(), height * bands.plane * columns);
        let tasks = if workers.count() < 2 { 1 } else { TASKS_PER_WORKER * workers.count() };
        share_in(workers, y, pooled_plane * y_step, tasks, |first, rows| bands.compute(first, rows, scratch));
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            End::Operand(operand) if self.convolution.plain_source && operand == self.x => StrideSupport::Contiguous,
            _ => self.convolution.epilogue.stride_support(end, self.x),
        }
    }
}
