//! `cpu.conv.channels_last.f32`: convolutions of channels-last images as one product per group, each with an epilogue.
//!
//! A row of the product is an output position, a column an output channel. With the channels of a pixel side by side,
//! the elements that a window meets at one kernel position are consecutive: the kernel reads rows in place (see
//! [`crate::product::tile::Tap`]), border positions read zeros, and no window is ever copied. Where a pixel has few
//! channels, such runs are too short: the kernel first copies the image into its padding, and one kernel row at a time
//! is consecutive. Such an image may also have plain layout.
//!
//! The kernel computes sibling convolutions of one image in one dispatch. Where their windows are single pixels, it
//! applies a pointwise prologue to the pixels.

use sinter_backend::{End, KernelError, Refusal, Region, StrideSupport};
use sinter_base::{DataType, Dim, Sizes, Tensor};
use sinter_ops::conv::Convolution;
use sinter_ops::window::Padding;
use sinter_ops::{Op, OpKind};
use smallvec::SmallVec;

use crate::conv::geometry::{Geometry, Origin, Triple};
use crate::fused::{Fused, FusedGroup, FusedPrologue, of_weight};
use crate::launch::{Kernel, Launch, Loaded, Workers, Workspace};
use crate::packed::{Fit, PackedRow, no_extra, one_recipe, packed_elements, packed_once, packed_tensor};
use crate::product::batched::{MadeRows, Prologue, compute};
use crate::product::blocks::Blocks;
use crate::product::epilogue::{Epilogue, Plan};
use crate::product::panel::{pack, packed_len};
use crate::product::rows::{RowProduct, Rows};
use crate::share::{Cost, share};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const CHANNELS_LAST: PackedRow = PackedRow {
    name: "cpu.conv.channels_last.f32",
    roots: &[OpKind::Convolution],
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    extra: no_extra,
    recipes: one_recipe,
    fit: |region, _| fit(region),
    pack: pack_weight,
};

/// Channels below which kernel rows are read as a whole.
const FEW_CHANNELS: i64 = 16;

pub(crate) fn heavy<'a>(fused: &Fused<'a>) -> Result<&'a Convolution, Refusal> {
    match &fused.node.op {
        Op::Convolution(op) => Ok(op),
        _ => Err(Refusal::OtherOperator),
    }
}

fn fit(region: &Region) -> Result<Fit, Refusal> {
    let fused_group = FusedGroup::of(region)?;
    let mut workspace = Dim::constant(0);
    let mut branches = Vec::new();
    for fused in &fused_group.branches {
        let (branch, bytes) = branch(fused)?;
        let is_single_pixel = branch.weight[2..].iter().all(|size| *size == 1)
            && branch.op.strides.iter().all(|stride| *stride == 1)
            && has_no_padding(&branch.op.padding);
        if fused_group.prologue.is_some() && !is_single_pixel {
            return Err(Refusal::new("a prologue before windows of several pixels"));
        }
        if (fused_group.branches.len() > 1 || fused_group.prologue.is_some())
            && (branch.is_padded_row || branch.op.groups > 1)
        {
            return Err(Refusal::new("groups, or few channels, with siblings or a prologue"));
        }
        workspace = bytes;
        branches.push(branch);
    }
    let packed: Vec<usize> = branches.iter().map(|branch| branch.w).collect();
    packed_once(&packed)?;
    let x = fused_group.operand().ok_or_else(missing)?;
    let prologue = fused_group.prologue.as_ref().map(FusedPrologue::plan).transpose()?;
    let kernel = Loaded::Kernel(Box::new(ChannelsLast { x, prologue, branches, tier: Tier::in_use() }));
    Ok(Fit { kernel, packed, workspace, in_place: Vec::new() })
}

pub(crate) fn has_no_padding(padding: &Padding) -> bool {
    match padding {
        Padding::Explicit { begin, end } => begin.iter().chain(end).all(|pad| *pad == 0),
        // A window of one pixel needs none.
        Padding::Valid | Padding::SameUpper | Padding::SameLower => true,
    }
}

/// The image and the sizes of the weight of a channels-last convolution that kernels with packed weights support.
pub(crate) fn image_and_weight<'f>(fused: &'f Fused<'_>) -> Result<(&'f [Dim], Vec<usize>), Refusal> {
    let op = heavy(fused)?;
    let (x, w) = (fused.input(0).ok_or_else(missing)?, fused.input(1).ok_or_else(missing)?);
    if !fused.channels_last {
        return Err(Refusal::new("channels are not last"));
    }
    if x.data_type != DataType::F32 {
        return Err(Refusal::new(format!("element type {} instead of f32", x.data_type)));
    }
    if !(1..=3).contains(&op.strides.len()) {
        return Err(Refusal::new(format!("{} spatial axes, at most 3", op.strides.len())));
    }
    let (x, w) = (x.dims().map_err(|_| missing())?, w.dims().map_err(|_| missing())?);
    let weight: Option<Vec<usize>> = w.iter().map(|d| d.as_constant().and_then(|d| usize::try_from(d).ok())).collect();
    let weight = weight.ok_or_else(|| Refusal::new("a weight of unknown sizes"))?;
    if weight[2..].contains(&0) {
        return Err(Refusal::new("a window without elements"));
    }
    Ok((x, weight))
}

pub(crate) fn missing() -> Refusal {
    Refusal::new("an operand is no tensor of known rank")
}

/// One convolution, and the bytes of scratch memory that it needs.
pub(crate) fn branch(fused: &Fused<'_>) -> Result<(Branch, Dim), Refusal> {
    let op = heavy(fused)?;
    let (x, weight) = image_and_weight(fused)?;
    let spatial = op.strides.len();
    let few = i64::try_from(weight[1]).unwrap_or(i64::MAX) < FEW_CHANNELS;
    let is_padded_row = few && op.groups == 1 && weight[1 + spatial] > 1 && op.dilations[spatial - 1] == 1;
    if fused.plain_source && !is_padded_row {
        return Err(Refusal::new("channels of the image are not last, and it is not copied"));
    }
    let workspace = if is_padded_row { padded_bytes(op, x, &weight)? } else { Dim::constant(0) };
    let branch = Branch {
        w: fused.operand(1).ok_or_else(missing)?,
        zeros: vec![0.0; weight[1]],
        weight,
        is_padded_row,
        plain_source: fused.plain_source,
        epilogue: fused.epilogue(fused.operand(2))?,
        op: op.clone(),
    };
    Ok((branch, workspace))
}

/// Bytes of the image inside its padding.
fn padded_bytes(op: &Convolution, x: &[Dim], weight: &[usize]) -> Result<Dim, Refusal> {
    let mut elements = x[0].mul(&x[1]);
    for axis in 0..op.strides.len() {
        let pads = match &op.padding {
            Padding::Explicit { begin, end } => begin[axis].max(0).saturating_add(end[axis].max(0)),
            Padding::Valid => 0,
            // Never more than the window reaches.
            Padding::SameUpper | Padding::SameLower => {
                let reach = op.dilations[axis].saturating_mul(weight[axis + 2]);
                i64::try_from(reach).map_err(|_| Refusal::new("a window without bounds"))?
            }
        };
        elements = elements.mul(&x[axis + 2].add(&pads.into()));
    }
    Ok(elements.mul(&4i64.into()))
}

fn pack_weight(region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let wrong = |refusal: Refusal| KernelError::Recipe(refusal.to_string());
    let fused_group = FusedGroup::of(region).map_err(wrong)?;
    pack_of(heavy(of_weight(&fused_group.branches, operand).map_err(wrong)?).map_err(wrong)?, weight)
}

/// The weight of a convolution in panels, group by group.
pub(crate) fn pack_of(op: &Convolution, weight: &Tensor) -> Result<Tensor, KernelError> {
    let values = weight.elements::<f32>().map_err(|e| KernelError::Data(e.to_string()))?;
    let sizes = weight.sizes();
    let (group_inputs, taps) = (sizes[1], sizes[2..].iter().product::<usize>());
    let outputs = sizes[0] / op.groups.max(1);
    let (inner, window) = (taps * group_inputs, taps * group_inputs);
    let each = packed_len(inner, outputs);
    let mut packed = vec![0.0; each * op.groups];
    for (group, target) in packed.chunks_exact_mut(each.max(1)).enumerate() {
        let own = &values[group * outputs * window..(group + 1) * outputs * window];
        // Inner position k is kernel position k / C, channel k % C.
        let start = |k: usize| k % group_inputs * taps + k / group_inputs;
        pack(inner, outputs, |k| (&own[start(k)..], window), target);
    }
    packed_tensor(packed)
}

struct ChannelsLast {
    x: usize,
    prologue: Option<Plan>,
    branches: Vec<Branch>,
    tier: Tier,
}

/// One of the convolutions.
pub(crate) struct Branch {
    /// The operand that is the packed weight.
    pub(crate) w: usize,
    /// Sizes of the weight: [M, C / G, kernel...].
    pub(crate) weight: Vec<usize>,
    /// A pixel of the border.
    zeros: Vec<f32>,
    /// Is the image copied into its padding first?
    pub(crate) is_padded_row: bool,
    /// Are the channels of the image before its spatial axes?
    pub(crate) plain_source: bool,
    pub(crate) epilogue: Plan,
    pub(crate) op: Convolution,
}

impl Branch {
    /// The windows of images whose channels are last, and whose pixels lie `step` elements apart in `data`.
    pub(crate) fn windows<'a>(
        &'a self,
        (data, step): (&'a [f32], usize),
        images: usize,
        geometry: Geometry,
    ) -> Windows<'a> {
        Windows { data, zeros: &self.zeros, geometry, images, step, first: 0, inner: self.weight[1] }
    }

    /// Elements of the images in their padding.
    pub(crate) fn padded_len(&self, windows: &Windows<'_>) -> usize {
        windows.images * padded(&windows.geometry).iter().product::<usize>() * self.weight[1]
    }

    /// Copies the images into their padding. The windows then are whole kernel rows of the copy.
    pub(crate) fn pad<'a>(&self, windows: Windows<'a>, target: &'a mut [f32], workers: &dyn Workers) -> Windows<'a> {
        let (geometry, channels) = (windows.geometry, self.weight[1]);
        let padded = padded(&geometry);
        let before = geometry.begin.map(|b| b.max(0) as usize);
        let image = Image { data: windows.data, step: windows.step, channels, is_plain: self.plain_source };
        share(workers, target, padded[2] * channels, Cost::PerElement(1), |first, rows| {
            for (i, row) in rows.chunks_exact_mut(padded[2] * channels).enumerate() {
                image.copy_row(row, first + i, &geometry.input, &padded, &before);
            }
        });
        let mut windows = Windows { data: target, step: channels, ..windows };
        windows.geometry.input = padded;
        // Negative pads take elements away; positive ones are part of the copy now.
        windows.geometry.begin = geometry.begin.map(|b| b.min(0));
        windows.inner = geometry.kernel[2] * channels;
        windows.geometry.kernel[2] = 1;
        windows
    }

    /// Elements of the weight of one group as it is packed.
    pub(crate) fn packed_group(&self) -> usize {
        let taps = self.weight[2..].iter().product::<usize>();
        packed_len(self.weight[1] * taps, self.weight[0] / self.op.groups.max(1))
    }
}

/// Sizes of an image in its padding.
fn padded(geometry: &Geometry) -> Triple {
    std::array::from_fn(|i| geometry.input[i] + (geometry.begin[i].max(0) + geometry.end[i].max(0)) as usize)
}

/// The windows of all images, as rows of a matrix.
pub(crate) struct Windows<'a> {
    data: &'a [f32],
    zeros: &'a [f32],
    /// Kernel positions are taps.
    pub(crate) geometry: Geometry,
    images: usize,
    /// Elements from one pixel to the next, the first one of a pixel that is read, and elements of a slice.
    step: usize,
    first: usize,
    inner: usize,
}

impl Rows for Windows<'_> {
    type Position = Origin;

    fn count(&self) -> usize {
        self.images * self.geometry.output.iter().product::<usize>()
    }

    fn taps(&self) -> usize {
        self.geometry.kernel.iter().product()
    }

    fn inner(&self) -> usize {
        self.inner
    }

    #[inline]
    fn position(&self, row: usize) -> Origin {
        let (image, output) = self.geometry.output_at(row);
        self.geometry.origin(image, output)
    }

    #[inline]
    fn slice(&self, position: Origin, tap: usize) -> &[f32] {
        match self.geometry.met(position, tap) {
            Some(pixel) => &self.data[pixel * self.step + self.first..][..self.inner],
            None => self.zeros,
        }
    }
}

impl Kernel for ChannelsLast {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        match &self.branches[..] {
            [branch] if self.prologue.is_none() => self.launch_single(branch, launch),
            _ => self.launch_batched(launch),
        }
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match (&self.branches[..], end) {
            ([branch], End::Operand(operand)) if branch.plain_source && operand == self.x => StrideSupport::Contiguous,
            ([branch], _) if self.prologue.is_none() => branch.epilogue.stride_support(end, self.x),
            (_, End::Result(_)) => StrideSupport::LastAxis,
            (_, End::Operand(operand)) if operand == self.x => StrideSupport::LastAxis,
            (_, End::Operand(_)) => StrideSupport::Contiguous,
        }
    }
}

/// The windows of a convolution, its packed weight and its epilogue in a launch.
type BoundBranch<'a> = (Windows<'a>, &'a [f32], Epilogue<'a>);

impl ChannelsLast {
    /// Computes siblings, or one convolution with a prologue; all have one group and read the image in place.
    fn launch_batched(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(self.x)?;
        let x_step = x.step_of(x.sizes().last().copied().unwrap_or(0)).ok_or_else(rows_of_other_length)?;
        let mut bound = SmallVec::<[BoundBranch<'_>; 4]>::new();
        for (position, branch) in self.branches.iter().enumerate() {
            let sizes = Sizes::from_slice(launch.output(position).sizes());
            let geometry = Geometry::channels_last(&branch.op, x.sizes(), &sizes, &branch.weight);
            let w = packed_elements(launch.input(branch.w)?, branch.packed_group())?;
            let windows = branch.windows((x.span::<f32>(), x_step), x.sizes()[0], geometry);
            bound.push((windows, w, branch.epilogue.bind(launch, &sizes)?));
        }
        let prologue = self.prologue.as_ref().map(|plan| Prologue::bind(plan, self.x, launch)).transpose()?;
        let mut branches = SmallVec::<[_; 4]>::new();
        for ((branch, (windows, w, epilogue)), target) in
            self.branches.iter().zip(&bound).zip(launch.outputs.iter_mut())
        {
            let (columns, y) = (branch.weight[0], target.view());
            let step = y.step_of(columns).ok_or_else(rows_of_other_length)?;
            branches.push((
                RowProduct { a: windows, b: w, columns, step, epilogue, blocks: Blocks::default() },
                y.span::<f32>(),
            ));
        }
        let made = prologue.as_ref().map(|prologue| prologue as &dyn MadeRows);
        compute(branches.into_iter(), made, self.tier, launch.workers);
        Ok(())
    }

    /// One convolution.
    fn launch_single(&self, branch: &Branch, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w) = (launch.input(self.x)?, launch.input(branch.w)?);
        let y_sizes = Sizes::from_slice(launch.output(0).sizes());
        let geometry = match branch.plain_source {
            true => Geometry::channels_first(&branch.op, x.sizes(), &y_sizes, &branch.weight),
            false => Geometry::channels_last(&branch.op, x.sizes(), &y_sizes, &branch.weight),
        };
        let epilogue = branch.epilogue.bind(launch, &y_sizes)?;
        let channels = branch.weight[1] * branch.op.groups;
        let x_step =
            if branch.plain_source { channels } else { x.step_of(channels).ok_or_else(rows_of_other_length)? };
        let mut windows = branch.windows((x.span::<f32>(), x_step), x.sizes()[0], geometry);
        let workers = launch.workers;
        let (group_inputs, outputs, groups) = (branch.weight[1], branch.weight[0], branch.op.groups);
        let y = launch.outputs[0].view();
        let y_step = y.step_of(outputs).ok_or_else(rows_of_other_length)?;
        let y = y.span::<f32>();
        let each = branch.packed_group();
        let w = packed_elements(w, each * groups)?;
        let mut workspace: Option<Workspace<'_, f32>> = None;
        if branch.is_padded_row {
            let length = branch.padded_len(&windows);
            let target = workspace.insert(Workspace::of(launch.workspace, launch.scratch, length));
            windows = branch.pad(windows, target, workers);
        }
        for group in 0..groups {
            windows.first = group * group_inputs;
            let first = group * (outputs / groups);
            let own = Epilogue { bias: epilogue.bias.map(|b| &b[first..]), clamp: epilogue.clamp, rest: None };
            let product = RowProduct {
                a: &windows,
                b: &w[group * each..(group + 1) * each],
                columns: outputs / groups,
                step: y_step,
                epilogue: if groups == 1 { &epilogue } else { &own },
                blocks: Blocks::default(),
            };
            if let Some(y) = y.get_mut(first..) {
                product.compute(self.tier, workers, y);
            }
        }
        if groups > 1
            && let Some(rest) = &epilogue.rest
        {
            share(workers, y, y_step, Cost::PerElement(8), |first, rows| {
                let mut columns = rest.columns();
                for (i, row) in rows.chunks_mut(y_step).enumerate() {
                    rest.apply(self.tier, first + i, 0, &mut row[..outputs], &mut columns);
                }
            });
        }
        Ok(())
    }
}

/// The error for views that [`StrideSupport::LastAxis`] excludes.
pub(crate) fn rows_of_other_length() -> KernelError {
    KernelError::Recipe("a part of an image whose rows are no pixels".to_owned())
}

/// Images to be copied into their padding.
struct Image<'a> {
    data: &'a [f32],
    /// Elements from one pixel to the next, where channels are last.
    step: usize,
    channels: usize,
    /// Are channels in front of the pixels?
    is_plain: bool,
}

impl Image<'_> {
    /// One row of the padded image.
    fn copy_row(&self, row: &mut [f32], index: usize, input: &Triple, padded: &Triple, before: &Triple) {
        row.fill(0.0);
        let Self { data, step, channels, is_plain } = *self;
        let (plane, y) = (index / padded[1], index % padded[1]);
        let (image, z) = (plane / padded[0], plane % padded[0]);
        let (Some(z), Some(y)) = (z.checked_sub(before[0]), y.checked_sub(before[1])) else { return };
        if z >= input[0] || y >= input[1] {
            return;
        }
        let length = input[2] * channels;
        let row = &mut row[before[2] * channels..][..length];
        if is_plain {
            for channel in 0..channels {
                let from = (((image * channels + channel) * input[0] + z) * input[1] + y) * input[2];
                let pixels = row.iter_mut().skip(channel).step_by(channels);
                pixels.zip(&data[from..from + input[2]]).for_each(|(to, from)| *to = *from);
            }
            return;
        }
        let from = ((image * input[0] + z) * input[1] + y) * input[2] * step;
        if step == channels {
            return row.copy_from_slice(&data[from..from + length]);
        }
        let pixels = data[from..].chunks(step);
        row.chunks_exact_mut(channels).zip(pixels).for_each(|(to, from)| to.copy_from_slice(&from[..channels]));
    }
}
