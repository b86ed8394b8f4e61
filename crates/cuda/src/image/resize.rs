//! `cuda.image.resize`: any axes resized at once. A thread computes an element of the result: it finds the elements that count
//! along each axis, and their weights.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::strides;
use sinter_ops::OpKind;
use sinter_ops::axes::distinct_axes;
use sinter_ops::image::resize_axis::{Coordinates, Interpolation, NearestRounding};
use sinter_ops::image::{AspectRatio, Resize};
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::{axes as numbers, rank_of};
use crate::only_operator;
use crate::space::{RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_ranks, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::types::careful_sums;

/// See the module documentation.
pub const RESIZE: Row = Row {
    name: "cuda.image.resize",
    roots: &[OpKind::Resize],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.4, ..Speed::STREAMING },
    kernel,
};

/// What determines the scales.
enum Scales {
    Given(Vec<f64>),
    /// The sizes of the result.
    Stretched,
    /// The smallest or largest ratio of these sizes to those of the operand.
    Uniform(Vec<i64>),
}

struct Plan {
    op: Resize,
    /// The resized axes.
    axes: Sizes,
    scales: Scales,
    region: Vec<f64>,
}

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Resize).clone();
    let has_scales = region.input(2).is_some_and(|ty| ty.dims().map_or(true, |dims| dims != [0usize.into()]));
    match op.aspect_ratio {
        // The sizes of the result are those asked for, whatever the memory holds.
        AspectRatio::Stretch if !has_scales => refuse_unknown_ranks(region)?,
        _ => refuse_unknown_sizes(region)?,
    }
    let rank = rank_of(region)?;
    let axes = match &op.axes {
        Some(axes) => distinct_axes(axes, rank).map_err(|error| Refusal::new(error.to_string()))?,
        None => (0..rank).collect(),
    };
    if rank > RANK {
        return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
    }
    let floats = |index: usize| region.input(index).and_then(|ty| ty.floats()).map(<[f64]>::to_vec).unwrap_or_default();
    let (given, corners) = (floats(2), floats(1));
    let asked = region.input(3).and_then(|ty| ty.constant_ints()).unwrap_or_default();
    let scales = match op.aspect_ratio {
        _ if given.len() == axes.len() && !given.is_empty() => Scales::Given(given),
        AspectRatio::Stretch => Scales::Stretched,
        _ if asked.len() == axes.len() => Scales::Uniform(asked),
        _ => return Err(Refusal::new("the sizes that decide the scale are no constants")),
    };
    if matches!(&scales, Scales::Given(scales) if scales.iter().any(|scale| scale.is_nan() || *scale <= 0.0)) {
        return Err(Refusal::new("scales are positive"));
    }
    let crops = op.coordinates == Coordinates::Crop;
    if crops && corners.len() != 2 * axes.len() {
        return Err(Refusal::new("the region of the crop is no constant of two numbers for each axis"));
    }
    let is_nearest = matches!(op.interpolation, Interpolation::Nearest { .. });
    let data_type = region.input(0).map(|ty| ty.data_type);
    let is_number = data_type.is_some_and(|ty| ty.is_float() || ty.is_integer());
    if !is_number && (crops || !is_nearest) {
        return Err(Refusal::new("takes numbers"));
    }
    let element = if is_nearest && !crops { moved_type(region)? } else { typedefs(&[("T", data_type)])? };
    let interpolation = match op.interpolation {
        Interpolation::Nearest { .. } => "NEAREST",
        Interpolation::Linear { .. } => "LINEAR",
        Interpolation::Cubic { .. } => "CUBIC",
    };
    let coordinates = match op.coordinates {
        Coordinates::HalfPixel => "HALF_PIXEL",
        Coordinates::HalfPixelSymmetric => "HALF_PIXEL_SYMMETRIC",
        Coordinates::HalfPixelOrZero => "HALF_PIXEL_OR_ZERO",
        Coordinates::HalfPixelUnshifted => "HALF_PIXEL_UNSHIFTED",
        Coordinates::Asymmetric => "ASYMMETRIC",
        Coordinates::AlignCorners => "ALIGN_CORNERS",
        Coordinates::Crop => "CROP",
    };
    let text = Text {
        name: RESIZE.name,
        interface: 1,
        generated: format!(
            "{element}typedef {} A;\n#define INTERPOLATION {interpolation}\n#define COORDINATES {coordinates}\n",
            data_type.map_or("float", careful_sums)
        ),
        text: include_str!("resize.cu"),
        contraction: Contraction::Off,
        entries: &["one", "two", "three", "many"],
    };
    let plan = Plan { op, axes, scales, region: corners };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &plan)).boxed())
}

/// Scale of every resized axis.
fn scales(plan: &Plan, x: &[usize], y: &[usize]) -> Vec<f64> {
    let own = plan.axes.iter().map(|axis| x[*axis] as f64);
    let uniform = |asked: &[i64], start: f64, join: fn(f64, f64) -> f64| {
        let ratio = asked.iter().zip(own.clone()).map(|(asked, size)| *asked as f64 / size).fold(start, join);
        vec![ratio; plan.axes.len()]
    };
    match &plan.scales {
        Scales::Given(scales) => scales.clone(),
        Scales::Stretched => plan.axes.iter().zip(own).map(|(axis, size)| y[*axis] as f64 / size).collect(),
        Scales::Uniform(asked) if plan.op.aspect_ratio == AspectRatio::NotLarger => {
            uniform(asked, f64::INFINITY, f64::min)
        }
        Scales::Uniform(asked) => uniform(asked, 0.0, f64::max),
    }
}

/// Words of `Axis` in `resize.cu` for an axis that is not there.
const NO_AXIS: [u64; 9] = [1, 1, 0, 1, 1f64.to_bits(), 1f64.to_bits(), 1f64.to_bits(), 0, 0];

fn run(launch: &mut Launch<'_>, plan: &Plan) -> Result<(), KernelError> {
    let (x, y, op) = (launch.input(0)?, launch.output(0)?, &plan.op);
    let stays = |axis: usize| plan.axes.contains(&axis) || x.sizes[axis] == y.sizes[axis];
    if x.sizes.len() != y.sizes.len() || !(0..x.sizes.len()).all(stays) {
        return Err(recipe(format!("{:?} resized to {:?}", x.sizes, y.sizes)));
    }
    if y.count() == 0 {
        return Ok(());
    }
    if x.count() == 0 {
        return Err(KernelError::Data(format!("{:?} has no elements to resize to {:?}", x.sizes, y.sizes)));
    }
    let (reach, antialias, cubic) = match op.interpolation {
        Interpolation::Nearest { .. } => (0.0, false, 0.0),
        Interpolation::Linear { antialias } => (1.0, antialias, 0.0),
        Interpolation::Cubic { a, antialias } => (2.0, antialias, a),
    };
    let mut own = numbers(&strides(x.sizes));
    let mut axes: SmallVec<[[u64; 9]; RANK]> = SmallVec::new();
    for (at, (&axis, scale)) in plan.axes.iter().zip(scales(plan, x.sizes, y.sizes)).enumerate() {
        // Elements stay where they are.
        if scale == 1.0 && x.sizes[axis] == y.sizes[axis] && op.coordinates != Coordinates::Crop {
            continue;
        }
        let corner = |at: usize, default: f64| plan.region.get(at).copied().unwrap_or(default);
        let squeeze = if antialias { scale.min(1.0) } else { 1.0 };
        let (input, inner) = (x.sizes[axis], y.sizes[axis + 1..].iter().product::<usize>());
        let reach = (reach / squeeze).min(2.0 * input as f64 + 4.0);
        let corners = [corner(at, 0.0), corner(plan.axes.len() + at, 1.0)];
        let [a, b, c, d, e] = [scale, reach, squeeze, corners[0], corners[1]].map(f64::to_bits);
        let stride = std::mem::take(&mut own[axis]).cast_unsigned();
        axes.push([input as u64, y.sizes[axis] as u64, stride, inner as u64, a, b, c, d, e]);
    }
    let count = axes.len();
    axes.resize(RANK, NO_AXIS);
    let rounding = match op.interpolation {
        Interpolation::Nearest { rounding: NearestRounding::PreferFloor } => 0,
        Interpolation::Nearest { rounding: NearestRounding::PreferCeil } => 1,
        Interpolation::Nearest { rounding: NearestRounding::Floor } => 2,
        Interpolation::Nearest { rounding: NearestRounding::Ceil } => 3,
        _ => 4,
    };
    let mut parameters: SmallVec<[u64; 112]> = SmallVec::from_slice(&[y.count() as u64, y.sizes.len() as u64]);
    parameters.extend(words(&numbers(y.sizes)).into_iter().chain(words(&own)));
    parameters.push(count as u64);
    parameters.extend(axes.into_iter().flatten());
    parameters.extend([rounding, u64::from(op.exclude_outside), u64::from(antialias)]);
    parameters.extend([cubic.to_bits(), op.extrapolation.to_bits(), x.address, y.address]);
    launch.each(if count > 3 { 3 } else { count.saturating_sub(1) }, y.count(), &parameters)
}
