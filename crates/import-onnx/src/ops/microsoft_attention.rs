//! MultiHeadAttention, Attention and QAttention of ONNX Runtime.

use sinter_base::{DataType, Dim, Truth};
use sinter_ir::Handle;
use sinter_ops::attention::{Attention, ScoreStage};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Slice, Squeeze, Unsqueeze};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;
use crate::ops::quantize::{dequantized, dequantized_matrix};

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

/// What both operators make of their attributes.
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

/// A padding mask [B, T] (1 for keys that count) or [B, S, T] as something added to the scores [B, H, S, T]; a list [B]
/// gives the number of keys that count instead. The two results are what is added, and the numbers.
fn padding(
    cx: &mut NodeContext<'_, '_>,
    mask: Option<Handle>,
    data_type: DataType,
) -> Result<(Option<Handle>, Option<Handle>), Problem> {
    let Some(mask) = mask else { return Ok((None, None)) };
    let axes: &[i64] = match cx.rank(mask)? {
        1 => {
            let (entries, batch) = (cx.dims(mask)?, cx.dims(cx.input(0)?)?);
            // One length each, or starts and ends as well. Which it is may be left to a run, as the operator's condition.
            if entries.iter().zip(&batch).any(|(entries, batch)| entries.equals(batch) == Truth::No) {
                return Err(
                    cx.problem(format!("a mask of type {} is not supported, only one length each", cx.ty(mask)))
                );
            }
            return Ok((None, Some(cx.cast(mask, DataType::I64)?)));
        }
        2 => &[1, 2],
        3 => &[1],
        4 => &[],
        rank => return Err(cx.problem(format!("a mask of {rank} dimensions is not supported"))),
    };
    let low = cx.float("mask_filter_value", -10000.0);
    let mut added = elementwise(cx, [mask], |[mask]| {
        let counts = mask.cast(DataType::Bool);
        counts.select(
            &sinter_ops::pointwise::Expr::constant(data_type, 0.0),
            &sinter_ops::pointwise::Expr::constant(data_type, low),
        )
    })?;
    if !axes.is_empty() {
        let axes = cx.int_list(axes);
        added = cx.add(Unsqueeze {}, &[added, axes])?;
    }
    Ok((Some(added), None))
}

/// The sum of two things that are added to the scores.
fn both(cx: &mut NodeContext<'_, '_>, a: Option<Handle>, b: Option<Handle>) -> Result<Option<Handle>, Problem> {
    match (a, b) {
        (Some(a), Some(b)) => elementwise(cx, [a, b], |[a, b]| &a + &b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

/// MultiHeadAttention: query, key and value apart, each [B, length, heads times size], key and value also with the
/// heads in front; biases, padding and a cache are optional.
pub fn multi_head_attention(cx: &mut NodeContext<'_, '_>) -> Imported {
    refuse(cx, &[(8, "past_sequence_length"), (9, "cache_indirection")])?;
    let (Some(mut key), Some(mut value)) = (cx.optional(1), cx.optional(2)) else {
        return Err(
            cx.problem("packed query, key and value are not supported: key and value must be inputs of their own")
        );
    };
    let mut query = cx.input(0)?;
    if cx.rank(query)? != 3 {
        return Err(cx.problem(format!("a query of type {} is not supported, only three dimensions", cx.ty(query))));
    }
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
    }
    let data_type = cx.data_type(query)?;
    let (added, lengths) = padding(cx, cx.optional(4), data_type)?;
    let mask = both(cx, added, cx.optional(5))?;
    let op = operator(cx)?;
    cx.add_optional(op, &[Some(query), Some(key), Some(value), mask, cx.optional(6), cx.optional(7), lengths])
}

/// What attention to the input itself may have besides it.
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
    let total = last_size(cx, weights)?;
    let sizes = cx.ints("qkv_hidden_sizes").unwrap_or_else(|| vec![total / 3; 3]);
    let mut operands = Vec::with_capacity(3);
    let mut start: i64 = 0;
    for size in &sizes {
        let end = start.saturating_add(*size);
        operands.push(Some(part(cx, all, -1, start, end)?));
        start = end;
    }
    if operands.len() != 3 || start != total {
        return Err(cx.problem(format!("weights of {total} columns do not hold {sizes:?}")));
    }
    let data_type = cx.data_type(input)?;
    let (added, lengths) = padding(cx, extras.mask, data_type)?;
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
    operands.push(lengths);
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
