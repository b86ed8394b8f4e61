//! GroupQueryAttention of ONNX Runtime: attention with a cache whose entries have lengths of their own.
//!
//! Of a batch entry b, `seqlens_k[b] + 1` keys count, those of this call included. Its S new keys go into the cache from
//! `first[b] = max(seqlens_k[b] + 1 - S, 0)` on, and query i sees key j when `j <= first[b] + i`. A cache shorter than
//! `total_sequence_length` grows to it; without a cache the new keys are all there are. A bias is added to the scores after
//! the softcap. A sink of a head, 0 for a smooth softmax, joins the sum of its softmaxes.

use sinter_base::{DataType, Tensor};
use sinter_ir::Handle;
use sinter_ops::attention::{Attention, FullyMasked, RotaryEmbedding};
use sinter_ops::index::TensorScatter;
use sinter_ops::movement::{Concat, Pad, Transpose, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::attention::softcap;
use crate::ops::expressions::{elementwise, equal};
use crate::ops::microsoft_attention::{last_size, part, refuse};
use crate::ops::sizes::{Entry, as_list, integer, positions, reshaped_to, size_of_axis};

const PAST_KEY: usize = 3;
const PAST_VALUE: usize = 4;
const LENGTHS: usize = 5;
const TOTAL: usize = 6;
const COS: usize = 7;
const SIN: usize = 8;
const PLACES: usize = 9;
const BIAS: usize = 10;
const SINKS: usize = 11;

/// Numbers of heads, and the size of each.
struct Heads {
    query: usize,
    key: usize,
    size: i64,
}

/// An attribute that counts heads, as a number and as a size.
fn count(cx: &NodeContext<'_, '_>, name: &str) -> Result<(usize, i64), Problem> {
    let given = cx.int(name, 0);
    let count = usize::try_from(given).ok().filter(|&count| count > 0 && given < 1 << 20);
    count.map(|count| (count, given)).ok_or_else(|| cx.problem(format!("{name} is {given}")))
}

/// Query, key and value, cut from one where they are packed, and their heads.
fn operands(cx: &mut NodeContext<'_, '_>) -> Result<([Handle; 3], Heads), Problem> {
    let ((query_heads, queries), (key_heads, keys)) = (count(cx, "num_heads")?, count(cx, "kv_num_heads")?);
    let query = cx.input(0)?;
    let hidden = last_size(cx, query)?;
    let heads = |size| Heads { query: query_heads, key: key_heads, size };
    match (cx.optional(1), cx.optional(2)) {
        (Some(key), Some(value)) => Ok(([query, key, value], heads(hidden / queries))),
        (None, None) => {
            let size = hidden / (queries + 2 * keys);
            let (a, b) = (queries * size, (queries + keys) * size);
            let parts =
                [part(cx, query, -1, 0, a)?, part(cx, query, -1, a, b)?, part(cx, query, -1, b, b + keys * size)?];
            Ok((parts, heads(size)))
        }
        _ => Err(cx.problem("key and value are both inputs or both packed into the query")),
    }
}

/// Refuses attributes that change the formula and are not supported.
fn check(cx: &NodeContext<'_, '_>) -> Result<(), Problem> {
    refuse(cx, &[(12, "k_scale"), (13, "v_scale"), (14, "q_norm_weight"), (15, "k_norm_weight")])?;
    // Each with the value that stands for its absence.
    let numbers = [("sliding_window_cache", 0), ("qk_output", 0), ("causal", 1)];
    if let Some((name, usual)) = numbers.into_iter().find(|(name, usual)| cx.int(name, *usual) != *usual) {
        return Err(cx.problem(format!("{name} is {}; only {usual} is supported", cx.int(name, usual))));
    }
    match ["k_quant_type", "v_quant_type"].into_iter().find(|name| cx.text(name, "NONE") != "NONE") {
        Some(name) => Err(cx.problem(format!("{name} is {}; only NONE is supported", cx.text(name, "NONE")))),
        None => Ok(()),
    }
}

/// Keys or values [B, S, heads times size] as [B, heads, S, size].
fn heads_in_front(cx: &mut NodeContext<'_, '_>, x: Handle, heads: &Heads) -> Result<Handle, Problem> {
    let count = i64::try_from(heads.key).unwrap_or(i64::MAX);
    let entries = [Entry::axis(0), Entry::axis(1), Entry::Constant(count), Entry::Constant(heads.size)];
    let x = reshaped_to(cx, x, &entries)?;
    cx.add(Transpose { permutation: Some(vec![0, 2, 1, 3]) }, &[x])
}

/// The cache, as long as `total` where it is shorter, with new rows from `first` on.
fn appended(
    cx: &mut NodeContext<'_, '_>,
    past: Option<Handle>,
    new: Handle,
    first: Handle,
    total: Handle,
) -> Result<Handle, Problem> {
    let Some(past) = past else { return Ok(new) };
    let length = size_of_axis(cx, past, 2)?;
    let room = elementwise(cx, [total, length], |[total, length]| {
        let missing = &total - &length;
        missing.binary(ScalarOp::Max, &integer(0))
    })?;
    let (none, axes) = (cx.int_list(&[0]), cx.int_list(&[2]));
    let pads = cx.add(Concat { axis: 0 }, &[none, room])?;
    let grown = cx.add_optional(Pad::default(), &[Some(past), Some(pads), None, Some(axes)])?;
    let grown = grown.first().copied().ok_or_else(|| cx.problem("a padded tensor is one result"))?;
    cx.add(TensorScatter { axis: 2, circular: false }, &[grown, new, first])
}

/// GroupQueryAttention.
pub fn group_query_attention(cx: &mut NodeContext<'_, '_>) -> Imported {
    check(cx)?;
    let ([mut query, mut key, value], heads) = operands(cx)?;
    let lengths = cx.cast(cx.input(LENGTHS)?, DataType::I64)?;
    let lengths = as_list(cx, lengths)?;
    let total = cx.cast(cx.input(TOTAL)?, DataType::I64)?;
    let total = as_list(cx, total)?;
    let steps = size_of_axis(cx, query, 1)?;
    let first = elementwise(cx, [lengths, steps], |[last, steps]| {
        let first = &(&last + &integer(1)) - &steps;
        first.binary(ScalarOp::Max, &integer(0))
    })?;
    let step = positions(cx, steps)?;
    if cx.flag("do_rotary", false) {
        let (cos, sin) = (cx.input(COS)?, cx.input(SIN)?);
        let places = match cx.optional(PLACES) {
            Some(given) => {
                // Of a prompt, which fills the cache, only the first number counts.
                let given = cx.cast(given, DataType::I64)?;
                let first = as_list(cx, given)?;
                let first = part(cx, first, 0, 0, 1)?;
                elementwise(cx, [steps, total, first, step, given], |[steps, total, first, step, given]| {
                    equal(&steps, &total).select(&(&first + &step), &given)
                })?
            }
            None => {
                let axes = cx.int_list(&[1]);
                let column = cx.add(Unsqueeze {}, &[first, axes])?;
                elementwise(cx, [column, step], |[first, step]| &first + &step)?
            }
        };
        let rotated = usize::try_from(last_size(cx, cos)?.saturating_mul(2)).unwrap_or(0);
        for (x, heads) in [(&mut query, heads.query), (&mut key, heads.key)] {
            let op = RotaryEmbedding { heads: Some(heads), rotated, interleaved: cx.flag("rotary_interleaved", false) };
            *x = cx.add(op, &[*x, cos, sin, places])?;
        }
    }
    let (key, value) = (heads_in_front(cx, key, &heads)?, heads_in_front(cx, value, &heads)?);
    let keys = appended(cx, cx.optional(PAST_KEY), key, first, total)?;
    let values = appended(cx, cx.optional(PAST_VALUE), value, first, total)?;
    let bias = cx.optional(BIAS);
    // A bias may end before a cache that is longer than all keys; so may the mask.
    let length = match bias {
        Some(bias) => size_of_axis(cx, bias, 3)?,
        None => size_of_axis(cx, keys, 2)?,
    };
    let mut mask = visible(cx, length, first, lengths, step)?;
    if let Some(bias) = bias {
        mask = elementwise(cx, [mask, bias], |[seen, bias]| {
            seen.select(&bias, &Expr::constant(bias.data_type(), f64::NEG_INFINITY))
        })?;
    }
    let op = Attention {
        query_heads: Some(heads.query),
        key_heads: Some(heads.key),
        scale: cx.optional_float("scale").filter(|scale| *scale != 0.0),
        softcap: softcap(cx)?,
        fully_masked: FullyMasked::Zero,
        ..Attention::default()
    };
    let sinks = sinks(cx, heads.query)?;
    let y = cx.add_optional(op, &[Some(query), Some(keys), Some(values), Some(mask), None, None, None, sinks])?;
    let y = y.first().copied().ok_or_else(|| cx.problem("attention without a result"))?;
    Ok(vec![y, keys, values])
}

/// One number for each head that joins the sum of its softmaxes.
fn sinks(cx: &mut NodeContext<'_, '_>, heads: usize) -> Result<Option<Handle>, Problem> {
    match cx.optional(SINKS) {
        None if cx.int("smooth_softmax", 0) == 1 => {
            let zeros = Tensor::from_floats(DataType::F32, &[heads], &vec![0.0; heads]);
            let zeros = zeros.map_err(|e| cx.problem(e.to_string()))?;
            Ok(Some(cx.constant(zeros)))
        }
        given => Ok(given),
    }
}

/// Which keys a query sees: [B, 1, S, length].
fn visible(
    cx: &mut NodeContext<'_, '_>,
    length: Handle,
    first: Handle,
    lengths: Handle,
    step: Handle,
) -> Result<Handle, Problem> {
    let place = positions(cx, length)?;
    let (behind, after) = (cx.int_list(&[1, 2, 3]), cx.int_list(&[1]));
    let (first, last) = (cx.add(Unsqueeze {}, &[first, behind])?, cx.add(Unsqueeze {}, &[lengths, behind])?);
    let step = cx.add(Unsqueeze {}, &[step, after])?;
    let window = cx.int("local_window_size", -1);
    elementwise(cx, [place, first, last, step], |[place, first, last, step]| {
        let own = &first + &step;
        let newest = own.binary(ScalarOp::Min, &last);
        let seen = place.binary(ScalarOp::LessOrEqual, &newest);
        if window < 0 {
            return seen;
        }
        let oldest = &own - &integer(window);
        seen.binary(ScalarOp::And, &oldest.binary(ScalarOp::Less, &place))
    })
}
