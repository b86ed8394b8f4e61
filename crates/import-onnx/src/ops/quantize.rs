//! QuantizeLinear-10..25, DequantizeLinear-10..25, DynamicQuantizeLinear-11, and the first two as ONNX Runtime has
//! them.

use sinter_base::DataType;
use sinter_base::quantization::Granularity;
use sinter_ir::Handle;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::reduce::{Reduce, ReduceKind};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;

/// Is this a scalar, or a tensor of a single element?
pub fn is_single(cx: &NodeContext<'_, '_>, value: Handle) -> bool {
    cx.dims(value).is_ok_and(|dims| dims.iter().all(|d| d.as_constant() == Some(1)))
}

/// Which elements of `x` share one scale: the shape of the scale tells.
fn granularity(
    cx: &NodeContext<'_, '_>,
    x: Handle,
    scale: Handle,
    axis: i64,
    block: i64,
) -> Result<Granularity, Problem> {
    let size = usize::try_from(block).map_err(|_| cx.problem(format!("block_size is {block}")))?;
    if size > 0 {
        return Ok(Granularity::Block { axis: cx.axis(axis, cx.rank(x)?)?, size });
    }
    if is_single(cx, scale) {
        return Ok(Granularity::Tensor);
    }
    let scales = cx.rank(scale)?;
    if scales != 1 {
        return Err(cx.problem(format!("scales of {scales} dimensions need a block size")));
    }
    let rank = cx.rank(x)?;
    // A vector has only one axis, whatever the attribute's default says.
    Ok(Granularity::Axis { axis: if rank == 1 { 0 } else { cx.axis(axis, rank)? } })
}

/// Stored values as real ones; scales of one dimension belong to `axis`.
///
/// # Errors
/// When the scale does not fit.
pub fn dequantized(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    scale: Handle,
    zero_point: Option<Handle>,
    axis: i64,
) -> Result<Handle, Problem> {
    let op = Dequantize { data_type: cx.data_type(scale)?, granularity: granularity(cx, x, scale, axis, 0)? };
    first(cx, op, x, scale, zero_point)
}

/// Real values as stored ones of this type, with one scale.
///
/// # Errors
/// When the scale does not fit.
pub fn quantized(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    scale: Handle,
    zero_point: Option<Handle>,
    data_type: DataType,
) -> Result<Handle, Problem> {
    let precision = cx.data_type(scale)?;
    let op = Quantize { precision, granularity: granularity(cx, x, scale, 1, 0)?, ..Quantize::plain(data_type) };
    first(cx, op, x, scale, zero_point)
}

fn first(
    cx: &mut NodeContext<'_, '_>,
    op: impl Into<sinter_ops::Op>,
    x: Handle,
    scale: Handle,
    zero_point: Option<Handle>,
) -> Result<Handle, Problem> {
    let results = cx.add_optional(op, &[Some(x), Some(scale), zero_point])?;
    results.first().copied().ok_or_else(|| cx.problem("a quantization has one result"))
}

/// QuantizeLinear: `axis` since version 13, `saturate` since 19, blocks and `output_dtype` since 21, `precision` since
/// 23.
pub fn quantize_linear(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, scale, zero_point) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let asked = cx.data_type_attribute("output_dtype")?;
    let data_type = match (zero_point.map(|z| cx.data_type(z)).transpose()?, asked) {
        (Some(zero), Some(asked)) if zero != asked => {
            return Err(cx.problem(format!("output_dtype is {asked}, but the zero point is {zero}")));
        }
        (Some(known), _) | (None, Some(known)) => known,
        (None, None) => DataType::U8,
    };
    let divides = |t: &DataType| t.is_float() && t.bits() >= 16;
    let candidates = [cx.data_type_attribute("precision")?, Some(cx.data_type(scale)?), Some(cx.data_type(x)?)];
    let op = Quantize {
        data_type,
        granularity: granularity(cx, x, scale, cx.int("axis", 1), cx.int("block_size", 0))?,
        saturate: cx.flag("saturate", true),
        // Neither integers nor bare powers of two can hold a quotient.
        precision: candidates.into_iter().flatten().find(divides).unwrap_or(DataType::F32),
    };
    Ok(vec![first(cx, op, x, scale, zero_point)?])
}

/// DequantizeLinear: `axis` since version 13, blocks since 21, `output_dtype` since 23.
pub fn dequantize_linear(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, scale, zero_point) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let scale_type = match cx.data_type(scale)? {
        DataType::F8E8M0 => DataType::F32,
        other => other,
    };
    let op = Dequantize {
        data_type: cx.data_type_attribute("output_dtype")?.unwrap_or(scale_type),
        granularity: granularity(cx, x, scale, cx.int("axis", 1), cx.int("block_size", 0))?,
    };
    Ok(vec![first(cx, op, x, scale, zero_point)?])
}

/// Scale and zero point that map all of `x`, and zero, onto 0..=255; then x so quantized.
///
/// `scale = (max - min) / 255` and `zero point = round(-min / scale)` with `max >= 0 >= min`; a tensor of zeros has
/// scale 1.
///
/// # Errors
/// When x is no float tensor.
pub fn dynamically_quantized(cx: &mut NodeContext<'_, '_>, x: Handle) -> Result<[Handle; 3], Problem> {
    let high = cx.add(Reduce::new(ReduceKind::Max, false), &[x])?;
    let low = cx.add(Reduce::new(ReduceKind::Min, false), &[x])?;
    let scale = elementwise(cx, [high, low], |[high, low]| {
        let range = high.binary(ScalarOp::Max, &high.same(0.0)) - low.binary(ScalarOp::Min, &low.same(0.0));
        range.binary(ScalarOp::Equal, &range.same(0.0)).select(&range.same(1.0), &(&range / 255.0))
    })?;
    let zero_point = elementwise(cx, [low, scale], |[low, scale]| {
        let place = -&(low.binary(ScalarOp::Min, &low.same(0.0)) / scale);
        let limited = place.binary(ScalarOp::Max, &place.same(0.0)).binary(ScalarOp::Min, &place.same(255.0));
        limited.unary(ScalarOp::Round).cast(DataType::U8)
    })?;
    let y = quantized(cx, x, scale, Some(zero_point), DataType::U8)?;
    Ok([y, scale, zero_point])
}

/// DynamicQuantizeLinear.
pub fn dynamic_quantize_linear(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    Ok(dynamically_quantized(cx, x)?.to_vec())
}

/// A matrix operand as real values; scales may be one per row (`from_last` 2) or per column (1), or broadcast.
///
/// # Errors
/// When the scale does not fit.
pub fn dequantized_matrix(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    scale: Handle,
    zero_point: Option<Handle>,
    from_last: i64,
) -> Result<Handle, Problem> {
    let scales = cx.dims(scale)?;
    let alike = zero_point.is_none_or(|zero| is_single(cx, zero) == is_single(cx, scale));
    if is_single(cx, scale) || scales.len() == 1 && alike {
        return dequantized(cx, x, scale, zero_point, from_last.saturating_neg());
    }
    match zero_point {
        None => elementwise(cx, [x, scale], |[x, s]| x.cast(s.data_type()) * s),
        Some(zero_point) => elementwise(cx, [x, scale, zero_point], |[x, s, z]| {
            let to = s.data_type();
            (x.cast(to) - z.cast(to)) * s
        }),
    }
}
