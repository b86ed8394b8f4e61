//! Picking and placing: Gather-1..13, GatherElements-11..13, GatherND-11..13, Scatter-9, ScatterElements-11..18,
//! ScatterND-11..18, TensorScatter-24, OneHot-9..11, NonZero-9..13, Compress-9..11, Unique-11, TopK-1..24,
//! EyeLike-9..22, Range-11, ai.onnx.ml ArrayFeatureExtractor-1.

use sinter_base::{DataType, Tensor};
use sinter_ir::Handle;
use sinter_ops::index::{
    Gather, GatherElements, GatherNd, NonZero, Range, ScatterElements, ScatterNd, ScatterReduction, TensorScatter,
    TopK, Unique,
};
use sinter_ops::movement::{Reshape, Shape, Unsqueeze};
use sinter_ops::pointwise::ScalarOp;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::{elementwise, equal};
use crate::ops::sizes::{as_list, as_scalar, integer, positions, size_of_axis};

/// Gather.
pub fn gather(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(Gather { axis: cx.int("axis", 0) }, &[x, indices])
}

/// GatherElements.
pub fn gather_elements(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(GatherElements { axis: cx.int("axis", 0) }, &[x, indices])
}

/// GatherND: `batch_dims` since version 12.
pub fn gather_nd(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let batch_dims = cx.int("batch_dims", 0);
    let batch_dims = usize::try_from(batch_dims).map_err(|_| cx.problem(format!("batch_dims is {batch_dims}")))?;
    cx.add_all(GatherNd { batch_dims }, &[x, indices])
}

fn reduction(cx: &NodeContext<'_, '_>) -> Result<ScatterReduction, Problem> {
    match cx.text("reduction", "none").as_str() {
        "none" => Ok(ScatterReduction::None),
        "add" => Ok(ScatterReduction::Add),
        "mul" => Ok(ScatterReduction::Multiply),
        "max" => Ok(ScatterReduction::Max),
        "min" => Ok(ScatterReduction::Min),
        other => Err(cx.problem(format!("reduction '{other}' is unknown"))),
    }
}

/// ScatterElements, and Scatter of versions 9 and 10, which is the same without reduction.
pub fn scatter_elements(cx: &mut NodeContext<'_, '_>) -> Imported {
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    cx.add_all(ScatterElements { axis: cx.int("axis", 0), reduction: reduction(cx)? }, &inputs)
}

/// ScatterND.
pub fn scatter_nd(cx: &mut NodeContext<'_, '_>) -> Imported {
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    cx.add_all(ScatterNd { reduction: reduction(cx)? }, &inputs)
}

/// TensorScatter.
pub fn tensor_scatter(cx: &mut NodeContext<'_, '_>) -> Imported {
    let circular = match cx.text("mode", "linear").as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(cx.problem(format!("mode '{other}' is unknown"))),
    };
    let inputs = [Some(cx.input(0)?), Some(cx.input(1)?), cx.optional(2)];
    cx.add_optional(TensorScatter { axis: cx.int("axis", -2), circular }, &inputs)
}

/// OneHot: along a new axis, `on` where the position equals the index (negative ones counted from the end), else `off`.
pub fn one_hot(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (indices, depth, values) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = cx.int("axis", -1);
    let indices = cx.cast(indices, DataType::I64)?;
    let depth = cx.cast(depth, DataType::I64)?;
    let depth = as_scalar(cx, depth)?;
    let line = positions(cx, depth)?;
    let new_axis = cx.int_list(&[axis]);
    let indices = cx.add(Unsqueeze::default(), &[indices, new_axis])?;
    let line = along_axis_of(cx, line, indices, axis)?;
    let hit = elementwise(cx, [indices, line, depth], |[index, position, depth]| {
        let wrapped = index.binary(ScalarOp::Less, &integer(0)).select(&(&index + &depth), &index);
        equal(&wrapped, &position)
    })?;
    let (first, second) = (cx.scalar(DataType::I64, 0.0)?, cx.scalar(DataType::I64, 1.0)?);
    if cx.data_type(values)? == DataType::String {
        let which = cx.cast(hit, DataType::I64)?;
        return cx.add_all(Gather::default(), &[values, which]);
    }
    let off = cx.add(Gather::default(), &[values, first])?;
    let on = cx.add(Gather::default(), &[values, second])?;
    Ok(vec![elementwise(cx, [hit, on, off], |[hit, on, off]| hit.select(&on, &off))?])
}

/// A list reshaped to lie along the axis that has `behind` axes after it.
pub fn along(cx: &mut NodeContext<'_, '_>, list: Handle, behind: usize) -> Result<Handle, Problem> {
    if behind == 0 {
        return Ok(list);
    }
    let axes: Vec<i64> = (1..=i64::try_from(behind).unwrap_or(0)).collect();
    let axes = cx.int_list(&axes);
    cx.add(Unsqueeze::default(), &[list, axes])
}

/// A list reshaped to lie along an axis of a tensor, so that both broadcast.
pub fn along_axis_of(cx: &mut NodeContext<'_, '_>, list: Handle, tensor: Handle, axis: i64) -> Result<Handle, Problem> {
    if let Ok(rank) = cx.rank(tensor) {
        return along(cx, list, rank - 1 - cx.axis(axis, rank)?);
    }
    if axis < 0 {
        return along(cx, list, usize::try_from(axis.unsigned_abs()).unwrap_or(usize::MAX) - 1);
    }
    // The rank is known only at run time: a shape of ones, but for the axis.
    let sizes = cx.add(Shape::default(), &[tensor])?;
    let rank = cx.add(Shape::default(), &[sizes])?;
    let numbers = positions(cx, rank)?;
    let shape =
        elementwise(cx, [numbers], |[number]| equal(&number, &integer(axis)).select(&integer(-1), &integer(1)))?;
    cx.add(Reshape::default(), &[list, shape])
}

/// NonZero.
pub fn non_zero(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    cx.add_all(NonZero::default(), &[x])
}

/// Compress: the slices whose condition holds; without axis, elements of the flat tensor. Slices beyond the condition's
/// length are left out.
pub fn compress(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, condition) = (cx.input(0)?, cx.input(1)?);
    let condition = as_list(cx, condition)?;
    let chosen = cx.add(NonZero::default(), &[condition])?;
    let chosen = as_list_of_row(cx, chosen)?;
    match cx.optional_int("axis") {
        Some(axis) => cx.add_all(Gather { axis }, &[x, chosen]),
        None => {
            let flat = as_list(cx, x)?;
            cx.add_all(Gather::default(), &[flat, chosen])
        }
    }
}

/// The only row of a matrix.
fn as_list_of_row(cx: &mut NodeContext<'_, '_>, row: Handle) -> Result<Handle, Problem> {
    let axes = cx.int_list(&[0]);
    cx.add(sinter_ops::movement::Squeeze::default(), &[row, axes])
}

/// Unique.
pub fn unique(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    cx.add_all(Unique { axis: cx.optional_int("axis"), sorted: cx.flag("sorted", true) }, &[x])
}

/// TopK: `k` is an attribute before version 10; `largest` and `sorted` since version 11.
pub fn top_k(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let k = match cx.optional_int("k") {
        Some(k) if cx.version < 10 => cx.int_list(&[k]),
        _ => cx.input(1)?,
    };
    let op = TopK { axis: cx.int("axis", -1), largest: cx.flag("largest", true), sorted: cx.flag("sorted", true) };
    cx.add_all(op, &[x, k])
}

/// EyeLike: one where `column - row = k`, zero elsewhere.
pub fn eye_like(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, k) = (cx.input(0)?, cx.int("k", 0));
    let to = match cx.data_type_attribute("dtype")? {
        Some(to) => to,
        None => cx.data_type(x)?,
    };
    let (rows, columns) = (size_of_axis(cx, x, 0)?, size_of_axis(cx, x, 1)?);
    let (rows, columns) = (positions(cx, rows)?, positions(cx, columns)?);
    let rows = along(cx, rows, 1)?;
    let y = elementwise(cx, [rows, columns], |[row, column]| equal(&(&row + &integer(k)), &column).cast(to))?;
    Ok(vec![y])
}

/// Range.
pub fn range(cx: &mut NodeContext<'_, '_>) -> Imported {
    let mut bounds = Vec::with_capacity(3);
    for index in 0..3 {
        let bound = cx.input(index)?;
        bounds.push(as_scalar(cx, bound)?);
    }
    cx.add_all(Range::default(), &bounds)
}

/// ArrayFeatureExtractor: columns of the last axis; a list counts as a matrix of one row.
pub fn array_feature_extractor(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, columns) = (cx.input(0)?, cx.input(1)?);
    let columns = as_list(cx, columns)?;
    let x = if cx.rank(x)? == 1 {
        let front = cx.constant(Tensor::of_i64(&[0]));
        cx.add(Unsqueeze::default(), &[x, front])?
    } else {
        x
    };
    cx.add_all(Gather { axis: -1 }, &[x, columns])
}
