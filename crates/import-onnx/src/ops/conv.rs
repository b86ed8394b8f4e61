//! Conv-1..22.

use sinter_base::Dim;
use sinter_ops::conv::Convolution;
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

/// Conv: the kernel's size comes from the weight; `kernel_shape`, where given, must agree with it.
pub fn conv(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
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
    let groups = cx.int("group", 1);
    let op = Convolution {
        strides: per_axis(cx, "strides", spatial)?,
        dilations: per_axis(cx, "dilations", spatial)?,
        padding: padding(cx, spatial)?,
        groups: usize::try_from(groups).map_err(|_| cx.problem(format!("group is {groups}")))?,
    };
    let bias = cx.optional(2);
    cx.add_optional(op, &[Some(x), Some(w), bias])
}
