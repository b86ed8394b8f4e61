//! MaxPool-1..22, AveragePool-1..22, LpPool-1..22, their global forms, MaxUnpool-9..22, NhwcMaxPool of ONNX Runtime.

use sinter_ops::movement::Transpose;
use sinter_ops::pool::{MaxPoolWithIndices, MaxUnpool, Pool, PoolMode, PoolWindow};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::conv::{padding, per_axis};

/// The attributes that describe windows (MaxPool-22).
///
/// # Errors
/// When `kernel_shape` is missing or the other lists do not fit it.
pub fn window(cx: &NodeContext<'_, '_>) -> Result<PoolWindow, Problem> {
    let Some(kernel) = cx.sizes("kernel_shape")? else {
        return Err(cx.problem("attribute kernel_shape is missing"));
    };
    let spatial = kernel.len();
    Ok(PoolWindow {
        strides: per_axis(cx, "strides", spatial)?,
        dilations: per_axis(cx, "dilations", spatial)?,
        padding: padding(cx, spatial)?,
        ceil: cx.flag("ceil_mode", false),
        kernel,
    })
}

/// The exponent of a norm: an integer since version 2, a float before.
fn order(cx: &NodeContext<'_, '_>) -> f64 {
    let whole = cx.optional_int("p").and_then(|p| i32::try_from(p).ok()).map(f64::from);
    whole.or_else(|| cx.optional_float("p")).unwrap_or(2.0)
}

fn pool(cx: &mut NodeContext<'_, '_>, mode: PoolMode, window: Option<PoolWindow>) -> Imported {
    let x = cx.input(0)?;
    cx.add_all(Pool { mode, window }, &[x])
}

/// MaxPool; with the second output also where the elements were found.
pub fn max_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let window = window(cx)?;
    if !cx.wants_output(1) {
        return pool(cx, PoolMode::Max, Some(window));
    }
    let column_major = match cx.int("storage_order", 0) {
        0 => false,
        1 => true,
        other => return Err(cx.problem(format!("storage_order {other} is neither 0 nor 1"))),
    };
    let x = cx.input(0)?;
    cx.add_all(MaxPoolWithIndices { window, column_major }, &[x])
}

/// NhwcMaxPool: of bytes, with the channels last.
pub fn nhwc_max_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, window) = (cx.input(0)?, window(cx)?);
    let rank = cx.rank(x)?;
    let Some(last) = rank.checked_sub(1).filter(|&last| last > 0) else {
        return Err(cx.problem(format!("{} has no channels", cx.ty(x))));
    };
    let first = Transpose { permutation: Some([0, last].into_iter().chain(1..last).collect()) };
    let back = Transpose { permutation: Some(std::iter::once(0).chain(2..rank).chain([1]).collect()) };
    let x = cx.add(first, &[x])?;
    let y = cx.add(Pool { mode: PoolMode::Max, window: Some(window) }, &[x])?;
    cx.add_all(back, &[y])
}

/// AveragePool; `count_include_pad` since version 7, `ceil_mode` since 10, `dilations` since 19.
pub fn average_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let mode = PoolMode::Average { count_padding: cx.flag("count_include_pad", false) };
    let window = window(cx)?;
    pool(cx, mode, Some(window))
}

/// LpPool; `ceil_mode` and `dilations` since version 18.
pub fn lp_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let window = window(cx)?;
    let mode = PoolMode::Norm { order: order(cx) };
    pool(cx, mode, Some(window))
}

/// GlobalMaxPool.
pub fn global_max_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    pool(cx, PoolMode::Max, None)
}

/// GlobalAveragePool.
pub fn global_average_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    pool(cx, PoolMode::Average { count_padding: false }, None)
}

/// GlobalLpPool.
pub fn global_lp_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let mode = PoolMode::Norm { order: order(cx) };
    pool(cx, mode, None)
}

/// MaxUnpool: the output shape is an optional input.
pub fn max_unpool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let Some(kernel) = cx.sizes("kernel_shape")? else {
        return Err(cx.problem("attribute kernel_shape is missing"));
    };
    let spatial = kernel.len();
    let strides = per_axis(cx, "strides", spatial)?;
    let pads = cx.ints("pads").unwrap_or_else(|| vec![0; spatial.saturating_mul(2)]);
    let (Some(begin), Some(end)) = (pads.get(..spatial), pads.get(spatial..)) else {
        return Err(cx.problem(format!("{} pads for {spatial} spatial axes", pads.len())));
    };
    let op = MaxUnpool { kernel, strides, begin: begin.to_vec(), end: end.to_vec() };
    let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), cx.optional(2)];
    cx.add_optional(op, &inputs)
}
