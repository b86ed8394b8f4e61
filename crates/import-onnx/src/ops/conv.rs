//! Conv-1..22, ConvTranspose-1..22, DeformConv-19..22, Col2Im-18.

use sinter_base::Dim;
use sinter_ir::Handle;
use sinter_ops::conv::{Col2Im, Convolution, Deconvolution, DeformableConvolution};
use sinter_ops::window::Padding;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

/// The attributes `auto_pad` and `pads` of windows over `spatial` axes (Conv-22, MaxPool-22).
///
/// # Errors
/// When `auto_pad` is unknown or `pads` has another length than twice the number of axes.
pub fn padding(cx: &NodeContext<'_, '_>, spatial: usize) -> Result<Padding, Problem> {
    match cx.text("auto_pad", "NOTSET").as_str() {
        "NOTSET" | "" => {}
        "SAME_UPPER" => return Ok(Padding::SameUpper),
        "SAME_LOWER" => return Ok(Padding::SameLower),
        "VALID" => return Ok(Padding::Valid),
        other => return Err(cx.problem(format!("auto_pad '{other}' is unknown"))),
    }
    let pads = cx.ints("pads").unwrap_or_else(|| vec![0; 2 * spatial]);
    match (pads.get(..spatial), pads.get(spatial..)) {
        (Some(begin), Some(end)) if end.len() == spatial => {
            Ok(Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() })
        }
        _ => Err(cx.problem(format!("{} pads for {spatial} spatial axes", pads.len()))),
    }
}

/// A list attribute with one entry per spatial axis, 1 by default.
///
/// # Errors
/// When an entry is negative or the length differs.
pub fn per_axis(cx: &NodeContext<'_, '_>, name: &str, spatial: usize) -> Result<Vec<usize>, Problem> {
    let values = cx.sizes(name)?.unwrap_or_else(|| vec![1; spatial]);
    if values.len() == spatial {
        Ok(values)
    } else {
        Err(cx.problem(format!("attribute {name} has {} entries for {spatial} spatial axes", values.len())))
    }
}

/// Number of spatial axes of a weight; `kernel_shape`, where given, must agree with the weight.
fn spatial_axes(cx: &NodeContext<'_, '_>, w: Handle) -> Result<usize, Problem> {
    let w_dims = cx.dims(w)?;
    let Some(spatial) = w_dims.len().checked_sub(2) else {
        return Err(cx.problem(format!("the weight has {} dimensions", w_dims.len())));
    };
    if let Some(kernel) = cx.sizes("kernel_shape")? {
        let agrees =
            w_dims.iter().skip(2).zip(&kernel).all(|(d, &k)| d.equals(&Dim::from(k)) != sinter_base::Truth::No);
        if kernel.len() != spatial || !agrees {
            return Err(cx.problem(format!("kernel_shape {kernel:?} contradicts the weight {}", cx.ty(w))));
        }
    }
    Ok(spatial)
}

/// An attribute that counts groups, 1 by default.
fn groups(cx: &NodeContext<'_, '_>, name: &str) -> Result<usize, Problem> {
    let groups = cx.int(name, 1);
    usize::try_from(groups).map_err(|_| cx.problem(format!("{name} is {groups}")))
}

/// The attributes of a convolution with this weight.
///
/// # Errors
/// When an attribute contradicts the weight's shape.
pub fn convolution(cx: &NodeContext<'_, '_>, w: Handle) -> Result<Convolution, Problem> {
    let spatial = spatial_axes(cx, w)?;
    Ok(Convolution {
        strides: per_axis(cx, "strides", spatial)?,
        dilations: per_axis(cx, "dilations", spatial)?,
        padding: padding(cx, spatial)?,
        groups: groups(cx, "group")?,
    })
}

/// Conv: the kernel's size comes from the weight.
pub fn conv(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let op = convolution(cx, w)?;
    let bias = cx.optional(2);
    cx.add_optional(op, &[Some(x), Some(w), bias])
}

/// ConvTranspose: `output_shape` lists the spatial sizes and overrides the pads.
pub fn conv_transpose(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let spatial = spatial_axes(cx, w)?;
    let output_sizes = cx.sizes("output_shape")?;
    if output_sizes.as_ref().is_some_and(|sizes| sizes.len() != spatial) {
        return Err(cx.problem(format!("output_shape {output_sizes:?} for {spatial} spatial axes")));
    }
    let output_padding = cx.sizes("output_padding")?.unwrap_or_else(|| vec![0; spatial]);
    if output_padding.len() != spatial {
        return Err(cx.problem(format!("output_padding {output_padding:?} for {spatial} spatial axes")));
    }
    let op = Deconvolution {
        strides: per_axis(cx, "strides", spatial)?,
        dilations: per_axis(cx, "dilations", spatial)?,
        padding: padding(cx, spatial)?,
        output_padding,
        output_sizes,
        groups: groups(cx, "group")?,
    };
    let bias = cx.optional(2);
    cx.add_optional(op, &[Some(x), Some(w), bias])
}

/// DeformConv: inputs x, weight, offset, optional bias, optional mask.
pub fn deform_conv(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, w, offset) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let spatial = spatial_axes(cx, w)?;
    let op = DeformableConvolution {
        strides: per_axis(cx, "strides", spatial)?,
        dilations: per_axis(cx, "dilations", spatial)?,
        padding: padding(cx, spatial)?,
        groups: groups(cx, "group")?,
        offset_groups: groups(cx, "offset_group")?,
    };
    let (bias, mask) = (cx.optional(3), cx.optional(4));
    cx.add_optional(op, &[Some(x), Some(w), Some(offset), bias, mask])
}

/// Col2Im: image and block sizes are inputs.
pub fn col2im(cx: &mut NodeContext<'_, '_>) -> Imported {
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let pads = cx.ints("pads").unwrap_or_default();
    let half = pads.len() / 2;
    let (begin, end): (Vec<i64>, Vec<i64>) =
        (pads.iter().copied().take(half).collect(), pads.iter().copied().skip(half).collect());
    let op = Col2Im {
        strides: cx.sizes("strides")?.unwrap_or_default(),
        dilations: cx.sizes("dilations")?.unwrap_or_default(),
        begin,
        end,
    };
    cx.add_all(op, &inputs)
}
