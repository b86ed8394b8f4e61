//! Resize-10..19, Upsample-1..9, GridSample-16..22, AffineGrid-20, RoiAlign-10..22, MaxRoiPool-1..22.

use sinter_base::{Dim, Tensor};
use sinter_ir::Handle;
use sinter_ops::image::{
    AffineGrid, AspectRatio, Coordinates, GridInterpolation, GridPadding, GridSample, Interpolation, NearestRounding,
    RegionMaxPool, RegionPooling, Resize, RoiAlign,
};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

fn unknown(cx: &NodeContext<'_, '_>, name: &str, value: &str) -> Problem {
    cx.problem(format!("attribute {name} '{value}' is unknown"))
}

/// An optional list; an empty one counts as left out.
fn list(cx: &NodeContext<'_, '_>, index: usize) -> Option<Handle> {
    let value = cx.optional(index)?;
    let empty = cx.dims(value).is_ok_and(|dims| dims.first().and_then(Dim::as_constant) == Some(0));
    (!empty).then_some(value)
}

/// The operator before version 11: positions are plain quotients.
fn plain_resize(cx: &mut NodeContext<'_, '_>, scales: Handle, rounding: NearestRounding) -> Imported {
    let x = cx.input(0)?;
    let mode = cx.text("mode", "nearest");
    let interpolation = match mode.as_str() {
        "nearest" => Interpolation::Nearest { rounding },
        "linear" | "bilinear" => Interpolation::Linear { antialias: false },
        other => return Err(unknown(cx, "mode", other)),
    };
    cx.add_optional(Resize::plain(interpolation, Coordinates::Asymmetric), &[Some(x), None, Some(scales), None])
}

/// Resize-10: scales are an input.
pub fn resize_10(cx: &mut NodeContext<'_, '_>) -> Imported {
    let scales = cx.input(1)?;
    plain_resize(cx, scales, NearestRounding::CeilWhenShrinking)
}

/// Upsample: scales are an input since version 9, an attribute in version 7, two attributes in version 1.
pub fn upsample(cx: &mut NodeContext<'_, '_>) -> Imported {
    let scales = if cx.version >= 9 {
        cx.input(1)?
    } else {
        let sides = || Some(vec![1.0, 1.0, cx.optional_float("height_scale")?, cx.optional_float("width_scale")?]);
        let Some(scales) = cx.floats("scales").or_else(sides) else {
            return Err(cx.problem("attribute scales is missing"));
        };
        let tensor = Tensor::from_floats(sinter_base::DataType::F32, &[scales.len()], &scales);
        let tensor = tensor.map_err(|e| cx.problem(e.to_string()))?;
        cx.constant(tensor)
    };
    plain_resize(cx, scales, NearestRounding::Floor)
}

fn coordinates(cx: &NodeContext<'_, '_>) -> Result<Coordinates, Problem> {
    Ok(match cx.text("coordinate_transformation_mode", "half_pixel").as_str() {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::HalfPixelOrZero,
        "tf_half_pixel_for_nn" => Coordinates::HalfPixelUnshifted,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "tf_crop_and_resize" => Coordinates::Crop,
        other => return Err(unknown(cx, "coordinate_transformation_mode", other)),
    })
}

fn interpolation(cx: &NodeContext<'_, '_>) -> Result<Interpolation, Problem> {
    let antialias = cx.flag("antialias", false);
    match cx.text("mode", "nearest").as_str() {
        "nearest" if antialias => Err(cx.problem("antialias does not apply to mode 'nearest'")),
        "nearest" => {
            let rounding = match cx.text("nearest_mode", "round_prefer_floor").as_str() {
                "round_prefer_floor" => NearestRounding::PreferFloor,
                "round_prefer_ceil" => NearestRounding::PreferCeil,
                "floor" => NearestRounding::Floor,
                "ceil" => NearestRounding::Ceil,
                other => return Err(unknown(cx, "nearest_mode", other)),
            };
            Ok(Interpolation::Nearest { rounding })
        }
        "linear" => Ok(Interpolation::Linear { antialias }),
        "cubic" => Ok(Interpolation::Cubic { a: cx.float("cubic_coeff_a", -0.75), antialias }),
        other => Err(unknown(cx, "mode", other)),
    }
}

/// Resize since version 11; `antialias`, `axes` and `keep_aspect_ratio_policy` since 18.
pub fn resize(cx: &mut NodeContext<'_, '_>) -> Imported {
    let aspect_ratio = match cx.text("keep_aspect_ratio_policy", "stretch").as_str() {
        "stretch" => AspectRatio::Stretch,
        "not_larger" => AspectRatio::NotLarger,
        "not_smaller" => AspectRatio::NotSmaller,
        other => return Err(unknown(cx, "keep_aspect_ratio_policy", other)),
    };
    let coordinates = coordinates(cx)?;
    let op = Resize {
        interpolation: interpolation(cx)?,
        coordinates,
        exclude_outside: cx.flag("exclude_outside", false),
        extrapolation: cx.float("extrapolation_value", 0.0),
        axes: cx.ints("axes"),
        aspect_ratio,
    };
    // A region without a crop has no effect, whatever its length.
    let region = if coordinates == Coordinates::Crop { list(cx, 1) } else { None };
    let inputs = [Some(cx.input(0)?), region, list(cx, 2), list(cx, 3)];
    cx.add_optional(op, &inputs)
}

/// GridSample: the modes were called `bilinear` and `bicubic` before version 20.
pub fn grid_sample(cx: &mut NodeContext<'_, '_>) -> Imported {
    let interpolation = match cx.text("mode", "linear").as_str() {
        "linear" | "bilinear" => GridInterpolation::Linear,
        "cubic" | "bicubic" => GridInterpolation::Cubic,
        "nearest" => GridInterpolation::Nearest,
        other => return Err(unknown(cx, "mode", other)),
    };
    let padding = match cx.text("padding_mode", "zeros").as_str() {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        other => return Err(unknown(cx, "padding_mode", other)),
    };
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(GridSample { interpolation, padding, align_corners: cx.flag("align_corners", false) }, &[x, grid])
}

/// AffineGrid.
pub fn affine_grid(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (theta, size) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(AffineGrid { align_corners: cx.flag("align_corners", false) }, &[theta, size])
}

/// RoiAlign: element centres lie at one half by default since version 16, never before.
pub fn roi_align(cx: &mut NodeContext<'_, '_>) -> Imported {
    let default = if cx.version >= 16 { "half_pixel" } else { "output_half_pixel" };
    let half_pixel = match cx.text("coordinate_transformation_mode", default).as_str() {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(unknown(cx, "coordinate_transformation_mode", other)),
    };
    let pooling = match cx.text("mode", "avg").as_str() {
        "avg" => RegionPooling::Average,
        "max" => RegionPooling::Max,
        other => return Err(unknown(cx, "mode", other)),
    };
    let size = |name: &str, default: i64| {
        let value = cx.int(name, default);
        usize::try_from(value).map_err(|_| cx.problem(format!("attribute {name} is {value}")))
    };
    let op = RoiAlign {
        pooling,
        output_height: size("output_height", 1)?,
        output_width: size("output_width", 1)?,
        sampling_ratio: size("sampling_ratio", 0)?,
        spatial_scale: cx.float("spatial_scale", 1.0),
        half_pixel,
    };
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    cx.add_all(op, &inputs)
}

/// MaxRoiPool.
pub fn max_roi_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, regions) = (cx.input(0)?, cx.input(1)?);
    let Some(&[output_height, output_width]) = cx.sizes("pooled_shape")?.as_deref() else {
        return Err(cx.problem("attribute pooled_shape must be given, and have two entries"));
    };
    let op = RegionMaxPool { output_height, output_width, spatial_scale: cx.float("spatial_scale", 1.0) };
    cx.add_all(op, &[x, regions])
}
