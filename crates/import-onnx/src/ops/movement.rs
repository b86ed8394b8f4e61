//! Movement: Transpose-1..25, Slice-1..13, Concat-1..13, Split-2..18, Tile-6..13, Expand-8..13, ConstantOfShape-9..25,
//! Squeeze-1..25, Unsqueeze-1..25, Flatten-1..25, DepthToSpace-1..13, SpaceToDepth-1..13, Trilu-14,
//! ReverseSequence-10, BitCast-26, Shape-1..25, Size-1..25.

use sinter_base::{DataType, Dim, Tensor, ValueType};
use sinter_ir::Handle;
use sinter_ops::movement::{
    BitCast, Concat, Expand, Reshape, ReverseSequence, Shape, Slice, Squeeze, Tile, Transpose, Unsqueeze,
};
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::reduce::{Reduce, ReduceKind};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;
use crate::ops::sizes::{
    Entry, as_scalar, flattened, integer, list_input, positions, reshaped_to, shape_of_entries, size_of_axis, sum_of,
};

/// Transpose.
pub fn transpose(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let permutation = cx.sizes("perm")?;
    cx.add_all(Transpose { permutation }, &[x])
}

/// Slice: bounds are attributes before version 10, inputs since.
pub fn slice(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    if cx.version >= 10 {
        let inputs: Vec<Option<Handle>> = (0..5).map(|i| cx.optional(i)).collect();
        return cx.add_optional(Slice::default(), &inputs);
    }
    let (Some(starts), Some(ends)) = (cx.ints("starts"), cx.ints("ends")) else {
        return Err(cx.problem("attributes starts and ends are needed"));
    };
    let (starts, ends) = (cx.int_list(&starts), cx.int_list(&ends));
    let axes = cx.ints("axes").map(|axes| cx.int_list(&axes));
    cx.add_optional(Slice::default(), &[Some(x), Some(starts), Some(ends), axes])
}

/// Concat: the axis was optional before version 4.
pub fn concat(cx: &mut NodeContext<'_, '_>) -> Imported {
    let axis = match cx.optional_int("axis") {
        Some(axis) => axis,
        None if cx.version < 4 => 1,
        None => return Err(cx.problem("attribute axis is needed")),
    };
    let inputs = cx.inputs_from(0)?;
    cx.add_all(Concat { axis }, &inputs)
}

/// The part `start..end` along one axis.
fn part(cx: &mut NodeContext<'_, '_>, x: Handle, start: Handle, end: Handle, axis: i64) -> Result<Handle, Problem> {
    let axes = cx.int_list(&[axis]);
    cx.add(Slice::default(), &[x, start, end, axes])
}

/// Split: slices one after the other. Sizes come from an attribute before version 13, then from an input; without them
/// the parts are equal, and since version 18 the last one may be smaller.
pub fn split(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, axis, count) = (cx.input(0)?, cx.int("axis", 0), cx.output_count());
    if let Some(parts) = list_input(cx, "split", 1) {
        return split_by_sizes(cx, x, axis, parts, count);
    }
    let outputs = i64::try_from(count).unwrap_or(i64::MAX);
    let parts = cx.int("num_outputs", outputs);
    if parts < 1 || parts < outputs {
        return Err(cx.problem(format!("{parts} parts for {outputs} outputs")));
    }
    let size = size_of_axis(cx, x, axis)?;
    let exact = cx.version < 18;
    let known = cx.tensor_type(size)?.ints().and_then(|list| list.first()).cloned();
    if exact && let Some(known) = known {
        let left = known.modulo(&Dim::constant(parts));
        let required =
            cx.builder().infer.require_equal(&left, &Dim::constant(0), "elements left over by an equal split");
        required.map_err(|e| cx.problem(e.to_string()))?;
    }
    let chunk = match cx.constant_ints(size).as_deref() {
        Some([size]) => {
            let rounded = if exact { *size } else { size.saturating_add(parts - 1) };
            cx.int_list(&[rounded.div_euclid(parts)])
        }
        _ => elementwise(cx, [size], |[size]| {
            let rounded = if exact { size } else { &size + &integer(parts - 1) };
            &rounded / &integer(parts)
        })?,
    };
    let mut start = cx.int_list(&[0]);
    let mut results = Vec::with_capacity(count);
    for _ in 0..count {
        let end = sum_of(cx, chunk, start)?;
        results.push(part(cx, x, start, end, axis)?);
        start = end;
    }
    Ok(results)
}

fn split_by_sizes(cx: &mut NodeContext<'_, '_>, x: Handle, axis: i64, parts: Handle, count: usize) -> Imported {
    let sizes = cx.tensor_type(parts)?.ints().map(<[Dim]>::to_vec);
    if let Some(sizes) = &sizes {
        if sizes.len() < count {
            return Err(cx.problem(format!("{} sizes for {count} parts", sizes.len())));
        }
        if let Some(negative) = sizes.iter().find(|s| s.upper_bound() < 0) {
            return Err(cx.problem(format!("a part of {negative} elements")));
        }
        if let Ok(dims) = cx.dims(x) {
            let position = cx.axis(axis, dims.len())?;
            let total = sizes.iter().fold(Dim::constant(0), |total, size| total.add(size));
            let own = dims.get(position).cloned().unwrap_or(total.clone());
            let required = cx.builder().infer.require_equal(&own, &total, "sum of the parts of a split");
            required.map_err(|e| cx.problem(e.to_string()))?;
        }
    }
    let mut start = cx.int_list(&[0]);
    let mut results = Vec::with_capacity(count);
    for k in 0..count {
        let known = sizes.as_ref().and_then(|sizes| sizes.get(k)).and_then(Dim::as_constant);
        let size = match known {
            Some(size) => cx.int_list(&[size]),
            None => {
                let at = i64::try_from(k).unwrap_or(i64::MAX);
                let (from, to) = (cx.int_list(&[at]), cx.int_list(&[at.saturating_add(1)]));
                let size = cx.add(Slice::default(), &[parts, from, to])?;
                cx.cast(size, DataType::I64)?
            }
        };
        let end = sum_of(cx, size, start)?;
        let result = part(cx, x, start, end, axis)?;
        // The parts fill the axis exactly, so that the slice is not clamped.
        if let Some(size) = sizes.as_ref().and_then(|sizes| sizes.get(k)) {
            narrow_axis(cx, result, axis, size)?;
        }
        results.push(result);
        start = end;
    }
    Ok(results)
}

/// Replaces what inference found for one axis.
fn narrow_axis(cx: &mut NodeContext<'_, '_>, value: Handle, axis: i64, size: &Dim) -> Result<(), Problem> {
    let ty = cx.tensor_type(value)?.clone();
    if let Ok(dims) = ty.dims() {
        let mut dims = dims.to_vec();
        let position = cx.axis(axis, dims.len())?;
        if let Some(dim) = dims.get_mut(position)
            && dim.as_constant().is_none()
        {
            *dim = size.clone();
            cx.builder().set_type(value, ValueType::tensor(ty.data_type, dims));
        }
    }
    Ok(())
}

/// Tile.
pub fn tile(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, repeats) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(Tile::default(), &[x, repeats])
}

/// Expand.
pub fn expand(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(Expand::default(), &[x, shape])
}

/// ConstantOfShape: the expansion of a scalar, an f32 zero by default.
pub fn constant_of_shape(cx: &mut NodeContext<'_, '_>) -> Imported {
    let shape = cx.input(0)?;
    let value = match cx.tensor("value")? {
        Some(value) => value.reshaped(&[]).map_err(|e| cx.problem(format!("attribute value: {e}")))?,
        None => Tensor::scalar(DataType::F32, 0.0),
    };
    let value = cx.constant(value);
    cx.add_all(Expand::default(), &[value, shape])
}

/// Squeeze: axes are an attribute before version 13, an input since.
pub fn squeeze(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let axes = list_input(cx, "axes", 1);
    cx.add_optional(Squeeze::default(), &[Some(x), axes])
}

/// Unsqueeze: axes are an attribute before version 13, an input since.
pub fn unsqueeze(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let Some(axes) = list_input(cx, "axes", 1) else { return Err(cx.problem("the axes are missing")) };
    cx.add_all(Unsqueeze::default(), &[x, axes])
}

/// Flatten.
pub fn flatten(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, axis) = (cx.input(0)?, cx.int("axis", 1));
    Ok(vec![flattened(cx, x, axis)?])
}

fn block_size(cx: &NodeContext<'_, '_>) -> Result<i64, Problem> {
    match cx.optional_int("blocksize") {
        Some(block) if block > 0 => Ok(block),
        Some(block) => Err(cx.problem(format!("blocksize is {block}"))),
        None => Err(cx.problem("attribute blocksize is needed")),
    }
}

/// DepthToSpace: `[n, c, h, w]` to `[n, c / b^2, h b, w b]`, the block taken from the front of the depth (DCR) or from
/// its end (CRD, since version 11).
pub fn depth_to_space(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, b) = (cx.input(0)?, block_size(cx)?);
    let block = Entry::Constant(b);
    let depth = Entry::Axis { axis: 1, times: 1, over: b.saturating_mul(b) };
    let (n, h, w) = (Entry::axis(0), Entry::axis(2), Entry::axis(3));
    let (split, permutation) = match cx.text("mode", "DCR").as_str() {
        "DCR" => ([n, block, block, depth, h, w], vec![0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, depth, block, block, h, w], vec![0, 1, 4, 2, 5, 3]),
        other => return Err(cx.problem(format!("mode '{other}' is unknown"))),
    };
    let blocks = reshaped_to(cx, x, &split)?;
    let moved = cx.add(Transpose { permutation: Some(permutation) }, &[blocks])?;
    let wide = |axis| Entry::Axis { axis, times: b, over: 1 };
    let shape = shape_of_entries(cx, x, &[n, depth, wide(2), wide(3)])?;
    cx.add_all(Reshape { allow_zero: true }, &[moved, shape])
}

/// SpaceToDepth: `[n, c, h, w]` to `[n, c b^2, h / b, w / b]`.
pub fn space_to_depth(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, b) = (cx.input(0)?, block_size(cx)?);
    let block = Entry::Constant(b);
    let part = |axis| Entry::Axis { axis, times: 1, over: b };
    let (n, c) = (Entry::axis(0), Entry::axis(1));
    let blocks = reshaped_to(cx, x, &[n, c, part(2), block, part(3), block])?;
    let moved = cx.add(Transpose { permutation: Some(vec![0, 3, 5, 1, 2, 4]) }, &[blocks])?;
    let depth = Entry::Axis { axis: 1, times: b.saturating_mul(b), over: 1 };
    let shape = shape_of_entries(cx, x, &[n, depth, part(2), part(3)])?;
    cx.add_all(Reshape { allow_zero: true }, &[moved, shape])
}

/// Trilu: elements kept where `column - row >= k` (upper) or `<= k` (lower), zero elsewhere.
pub fn trilu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let k = match cx.optional(1) {
        Some(k) => as_scalar(cx, k)?,
        None => cx.scalar(DataType::I64, 0.0)?,
    };
    let (rows, columns) = (size_of_axis(cx, x, -2)?, size_of_axis(cx, x, -1)?);
    let (rows, columns) = (positions(cx, rows)?, positions(cx, columns)?);
    let last = cx.int_list(&[1]);
    let rows = cx.add(Unsqueeze::default(), &[rows, last])?;
    let upper = cx.flag("upper", true);
    let y = elementwise(cx, [x, rows, columns, k], |[x, row, column, k]| {
        let diagonal = &row + &k;
        let (low, high) = if upper { (&diagonal, &column) } else { (&column, &diagonal) };
        low.binary(ScalarOp::LessOrEqual, high).select(&x, &x.same(0.0))
    })?;
    Ok(vec![y])
}

/// ReverseSequence.
pub fn reverse_sequence(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, lengths) = (cx.input(0)?, cx.input(1)?);
    let op = ReverseSequence { batch_axis: cx.int("batch_axis", 1), time_axis: cx.int("time_axis", 0) };
    cx.add_all(op, &[x, lengths])
}

/// BitCast.
pub fn bit_cast(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let Some(to) = cx.data_type_attribute("to")? else { return Err(cx.problem("attribute to is needed")) };
    cx.add_all(BitCast { to }, &[x])
}

/// Shape: `start` and `end` since version 15.
pub fn shape(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    cx.add_all(Shape { start: cx.int("start", 0), end: cx.optional_int("end") }, &[x])
}

/// Size: the product of the sizes.
pub fn size(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let sizes = cx.add(Shape::default(), &[x])?;
    cx.add_all(Reduce::new(ReduceKind::Product, false), &[sizes])
}
