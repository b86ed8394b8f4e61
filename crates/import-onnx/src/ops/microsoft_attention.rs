//! MultiHeadAttention, Attention and QAttention of ONNX Runtime.

use sinter_base::{DataType, Dim, Truth};
use sinter_ir::Handle;
use sinter_ops::attention::{Attention, ScoreStage};
use sinter_ops::index::Gather;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Pad, Reshape, Slice, Squeeze, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;
use crate::ops::quantize::{dequantized, dequantized_matrix};
use crate::ops::sizes::{Entry, integer, positions, reshaped_to, size_of_axis, sum_of};

/// Elements `start..end` along an axis.
pub(crate) fn part(
    cx: &mut NodeContext<'_, '_>,
    value: Handle,
    axis: i64,
    start: i64,
    end: i64,
) -> Result<Handle, Problem> {
    let (starts, ends, axes) = (cx.int_list(&[start]), cx.int_list(&[end]), cx.int_list(&[axis]));
    cx.add(Slice {}, &[value, starts, ends, axes])
}

/// The size of the last axis, which the model must fix.
pub(crate) fn last_size(cx: &NodeContext<'_, '_>, value: Handle) -> Result<i64, Problem> {
    let dims = cx.dims(value)?;
    let size = dims.last().and_then(Dim::as_constant);
    size.ok_or_else(|| cx.problem(format!("the last size of {} must be known", cx.ty(value))))
}

fn heads(cx: &NodeContext<'_, '_>) -> Result<usize, Problem> {
    let given = cx.int("num_heads", 0);
    let heads = usize::try_from(given).ok().filter(|heads| *heads > 0);
    heads.ok_or_else(|| cx.problem(format!("num_heads is {given}")))
}

/// The attention operator of the attributes that both operators share.
fn operator(cx: &NodeContext<'_, '_>) -> Result<Attention, Problem> {
    let heads = heads(cx)?;
    Ok(Attention {
        query_heads: Some(heads),
        key_heads: Some(heads),
        scale: cx.optional_float("scale").filter(|scale| *scale != 0.0),
        causal: cx.flag("unidirectional", false),
        scores: ScoreStage::Weights,
        ..Attention::default()
    })
}

/// Refuses inputs that are given but not supported.
pub(crate) fn refuse(cx: &NodeContext<'_, '_>, inputs: &[(usize, &str)]) -> Result<(), Problem> {
    match inputs.iter().find(|(index, _)| cx.optional(*index).is_some()) {
        Some((index, name)) => Err(cx.problem(format!("input {index} ({name}) is not supported"))),
        None => Ok(()),
    }
}

/// The number that is added to the scores of masked keys.
fn low(cx: &NodeContext<'_, '_>) -> f64 {
    cx.float("mask_filter_value", -10000.0)
}

/// A padding mask as something added to the scores [B, H, S, T]: [B, T] (1 for keys that count) or [B, S, T]; a list
/// [B] of the positions behind the keys that count, or [2 B] with the positions where they start behind those. `total`
/// is T.
fn padding(
    cx: &mut NodeContext<'_, '_>,
    mask: Option<Handle>,
    data_type: DataType,
    total: Handle,
) -> Result<Option<Handle>, Problem> {
    let Some(mask) = mask else { return Ok(None) };
    let axes: &[i64] = match cx.rank(mask)? {
        1 => return range_of_keys(cx, mask, data_type, total).map(Some),
        2 => &[1, 2],
        3 => &[1],
        4 => &[],
        rank => return Err(cx.problem(format!("a mask of {rank} dimensions is not supported"))),
    };
    let low = low(cx);
    let mut added = elementwise(cx, [mask], |[mask]| {
        let counts = mask.cast(DataType::Bool);
        counts.select(&Expr::constant(data_type, 0.0), &Expr::constant(data_type, low))
    })?;
    if !axes.is_empty() {
        let axes = cx.int_list(axes);
        added = cx.add(Unsqueeze {}, &[added, axes])?;
    }
    Ok(Some(added))
}

/// The keys between starts and ends, as something added to the scores.
fn range_of_keys(
    cx: &mut NodeContext<'_, '_>,
    mask: Handle,
    data_type: DataType,
    total: Handle,
) -> Result<Handle, Problem> {
    let batch = cx.dims(cx.input(0)?)?.first().cloned().unwrap_or_else(|| Dim::constant(1));
    let entries = cx.dims(mask)?.first().cloned().unwrap_or_else(|| Dim::constant(0));
    let (one_each, two_each) = (entries.equals(&batch), entries.equals(&batch.mul(&Dim::constant(2))));
    if one_each == Truth::No && two_each == Truth::No {
        let reason =
            format!("a mask of {entries} numbers for a batch of {batch} is not supported, only one or two each");
        return Err(cx.problem(reason));
    }
    let mask = cx.cast(mask, DataType::I64)?;
    let whole = cx.int_list(&[-1]);
    let count = size_of_axis(cx, cx.input(0)?, 0)?;
    let sizes = cx.add(Concat { axis: 0 }, &[whole, count])?;
    let mut rows = cx.add(Reshape::default(), &[mask, sizes])?;
    if one_each != Truth::Yes && two_each != Truth::Yes {
        // One row or two, which a run tells; starts that are missing are 0.
        let given = size_of_axis(cx, rows, 0)?;
        let missing = elementwise(cx, [given], |[given]| (&integer(2) - &given).binary(ScalarOp::Max, &integer(0)))?;
        let (none, axes) = (cx.int_list(&[0]), cx.int_list(&[0]));
        let pads = cx.add(Concat { axis: 0 }, &[none, missing])?;
        let padded = cx.add_optional(Pad::default(), &[Some(rows), Some(pads), None, Some(axes)])?;
        let padded = padded.first().copied().ok_or_else(|| cx.problem("a padded tensor is one result"))?;
        let two = cx.int_list(&[2]);
        let sizes = cx.add(Concat { axis: 0 }, &[two, count])?;
        rows = cx.add(Reshape::default(), &[padded, sizes])?;
    }
    let place = positions(cx, total)?;
    let column = cx.int_list(&[1, 2, 3]);
    let mut bounds = Vec::with_capacity(2);
    for row in 0..if one_each == Truth::Yes { 1 } else { 2 } {
        let row = cx.scalar(DataType::I64, f64::from(row))?;
        let bound = cx.add(Gather { axis: 0 }, &[rows, row])?;
        bounds.push(cx.add(Unsqueeze {}, &[bound, column])?);
    }
    let (zero, low) = (Expr::constant(data_type, 0.0), Expr::constant(data_type, low(cx)));
    match bounds[..] {
        [end, start] => elementwise(cx, [place, end, start], |[place, end, start]| {
            let counts =
                start.binary(ScalarOp::LessOrEqual, &place).binary(ScalarOp::And, &place.binary(ScalarOp::Less, &end));
            counts.select(&zero, &low)
        }),
        [end] => elementwise(cx, [place, end], |[place, end]| place.binary(ScalarOp::Less, &end).select(&zero, &low)),
        _ => Err(cx.problem("a mask without bounds")),
    }
}

/// Keys of the past, where there is one, and of this call.
fn total_keys(
    cx: &mut NodeContext<'_, '_>,
    (past, past_axis): (Option<Handle>, i64),
    (keys, axis): (Handle, i64),
) -> Result<Handle, Problem> {
    let new = size_of_axis(cx, keys, axis)?;
    let Some(past) = past else { return Ok(new) };
    let past = size_of_axis(cx, past, past_axis)?;
    sum_of(cx, past, new)
}

/// The sum of two things that are added to the scores.
fn both(cx: &mut NodeContext<'_, '_>, a: Option<Handle>, b: Option<Handle>) -> Result<Option<Handle>, Problem> {
    match (a, b) {
        (Some(a), Some(b)) => elementwise(cx, [a, b], |[a, b]| &a + &b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

/// Operands packed into one tensor [B, length, heads, parts, size], each as [B, length, heads times size].
fn unpacked(cx: &mut NodeContext<'_, '_>, packed: Handle, parts: i64) -> Result<Vec<Handle>, Problem> {
    let own = cx.dims(packed)?.get(3).and_then(Dim::as_constant);
    let heads = cx.int("num_heads", 0);
    if own != Some(parts) {
        let found = cx.ty(packed);
        return Err(
            cx.problem(format!("{found} does not pack {parts} operands as [batch, length, heads, {parts}, size]"))
        );
    }
    let hidden = Entry::Constant(heads.saturating_mul(last_size(cx, packed)?));
    (0..parts)
        .map(|position| {
            let own = part(cx, packed, 3, position, position + 1)?;
            reshaped_to(cx, own, &[Entry::axis(0), Entry::axis(1), hidden])
        })
        .collect()
}

/// Query, key and value, each an input or packed into another one.
fn operands(cx: &mut NodeContext<'_, '_>) -> Result<[Handle; 3], Problem> {
    let query = cx.input(0)?;
    let query_rank = cx.rank(query)?;
    let parts = match (cx.optional(1), cx.optional(2)) {
        (None, None) if query_rank == 5 => unpacked(cx, query, 3)?,
        (Some(key), None) if cx.rank(key)? == 5 => {
            let mut parts = vec![query];
            parts.extend(unpacked(cx, key, 2)?);
            parts
        }
        (Some(key), Some(value)) => vec![query, key, value],
        _ => return Err(cx.problem("key and value must be inputs, or be packed in five dimensions into key or query")),
    };
    let [query, key, value] = parts[..] else { return Err(cx.problem("three operands are needed")) };
    if cx.rank(query)? != 3 {
        return Err(cx.problem(format!("a query of type {} is not supported, only three dimensions", cx.ty(query))));
    }
    Ok([query, key, value])
}

/// MultiHeadAttention: query, key and value, each [B, length, heads times size], key and value also with the heads in
/// front; or packed, as [B, length, heads, 3, size] or, key and value, [B, length, heads, 2, size]. Biases, padding and
/// a cache are optional.
pub fn multi_head_attention(cx: &mut NodeContext<'_, '_>) -> Imported {
    refuse(cx, &[(8, "past_sequence_length"), (9, "cache_indirection")])?;
    let op = operator(cx)?;
    let [mut query, mut key, mut value] = operands(cx)?;
    if let Some(bias) = cx.optional(3) {
        let mut start = 0;
        for operand in [&mut query, &mut key, &mut value] {
            if cx.rank(*operand)? != 3 {
                return Err(cx.problem("a bias needs key and value of three dimensions"));
            }
            let end = start + last_size(cx, *operand)?;
            let own = part(cx, bias, 0, start, end)?;
            *operand = elementwise(cx, [*operand, own], |[x, bias]| &x + &bias)?;
            start = end;
        }
        if let Some(count) = cx.dims(bias)?.first().and_then(Dim::as_constant).filter(|count| *count != start) {
            return Err(cx.problem(format!("a bias of {count} numbers for operands of {start} columns together")));
        }
    }
    let data_type = cx.data_type(query)?;
    let key_axis = if cx.rank(key)? == 3 { 1 } else { 2 };
    let total = total_keys(cx, (cx.optional(6), 2), (key, key_axis))?;
    let added = padding(cx, cx.optional(4), data_type, total)?;
    let mask = both(cx, added, cx.optional(5))?;
    cx.add_optional(op, &[Some(query), Some(key), Some(value), mask, cx.optional(6), cx.optional(7)])
}

/// Optional operands of self-attention.
struct Extras {
    bias: Option<Handle>,
    mask: Option<Handle>,
    past: Option<Handle>,
    added: Option<Handle>,
}

/// Query, key and value come from one product of the input with the weights; past and present keys and values are
/// stacked in one tensor.
fn self_attention(cx: &mut NodeContext<'_, '_>, input: Handle, weights: Handle, extras: &Extras) -> Imported {
    if cx.flag("do_rotary", false) || cx.flag("past_present_share_buffer", false) {
        return Err(cx.problem("do_rotary and past_present_share_buffer are not supported"));
    }
    let mut all = cx.add(MatMul::default(), &[input, weights])?;
    if let Some(bias) = extras.bias {
        all = elementwise(cx, [all, bias], |[x, bias]| &x + &bias)?;
    }
    let columns = last_size(cx, weights)?;
    let sizes = cx.ints("qkv_hidden_sizes").unwrap_or_else(|| vec![columns / 3; 3]);
    let mut operands = Vec::with_capacity(3);
    let mut start: i64 = 0;
    for size in &sizes {
        let end = start.saturating_add(*size);
        operands.push(Some(part(cx, all, -1, start, end)?));
        start = end;
    }
    if operands.len() != 3 || start != columns {
        return Err(cx.problem(format!("weights of {columns} columns do not hold {sizes:?}")));
    }
    let data_type = cx.data_type(input)?;
    let total = total_keys(cx, (extras.past, 3), (input, 1))?;
    let added = padding(cx, extras.mask, data_type, total)?;
    operands.push(both(cx, added, extras.added)?);
    for position in 0..2 {
        let past = match extras.past {
            None => None,
            Some(past) => {
                let axes = cx.int_list(&[0]);
                let own = part(cx, past, 0, position, position + 1)?;
                Some(cx.add(Squeeze {}, &[own, axes])?)
            }
        };
        operands.push(past);
    }
    let op = operator(cx)?;
    let results = cx.add_optional(op, &operands)?;
    let [y, keys, values, ..] = results.as_slice() else { return Ok(results) };
    if !cx.wants_output(1) {
        return Ok(vec![*y]);
    }
    let axes = cx.int_list(&[0]);
    let stacked = [cx.add(Unsqueeze {}, &[*keys, axes])?, cx.add(Unsqueeze {}, &[*values, axes])?];
    Ok(vec![*y, cx.add(Concat { axis: 0 }, &stacked)?])
}

/// Attention: of real values.
pub fn attention(cx: &mut NodeContext<'_, '_>) -> Imported {
    refuse(cx, &[(6, "past_sequence_length")])?;
    let (input, weights) = (cx.input(0)?, cx.input(1)?);
    let [bias, mask, past, added] = [2, 3, 4, 5].map(|index| cx.optional(index));
    self_attention(cx, input, weights, &Extras { bias, mask, past, added })
}

/// QAttention: input and weights are stored as 8-bit integers, the weights with one scale or one per column.
pub fn quantized_attention(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (input, weights, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let [mask, input_zero, weight_zero, past] = [5, 6, 7, 8].map(|index| cx.optional(index));
    let input = dequantized(cx, input, cx.input(3)?, input_zero, 0)?;
    let weights = dequantized_matrix(cx, weights, cx.input(4)?, weight_zero, 1)?;
    self_attention(cx, input, weights, &Extras { bias, mask, past, added: None })
}
