//! Attention-23..24, RotaryEmbedding-23, and RotaryEmbedding of ONNX Runtime.
//!
//! Attention is imported as ONNX corrected it for both versions: the softcap comes before the mask (onnx/onnx#7867), a causal
//! mask over a cache of fixed length ends at the keys that count, and fully masked queries give 0 (#8068).

use sinter_ir::Handle;
use sinter_ops::attention::{Attention, FullyMasked, RotaryEmbedding, ScoreStage};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

/// A positive count; `None` where the attribute is not given or 0.
fn count(cx: &NodeContext<'_, '_>, name: &str) -> Result<Option<usize>, Problem> {
    match cx.int(name, 0) {
        0 => Ok(None),
        given => match usize::try_from(given) {
            Ok(count) => Ok(Some(count)),
            Err(_) => Err(cx.problem(format!("attribute {name} is {given}"))),
        },
    }
}

/// The bound of the scores, 0 for none.
pub(crate) fn softcap(cx: &NodeContext<'_, '_>) -> Result<f64, Problem> {
    let softcap = cx.float("softcap", 0.0);
    if softcap >= 0.0 {
        Ok(softcap)
    } else {
        Err(cx.problem(format!("softcap is {softcap}, but must not be negative")))
    }
}

/// The stage of the scores that `qk_matmul_output_mode` asks for. Up to onnx 1.21, 1 was the masked scores and 2 the capped
/// ones; onnx 1.22 numbers them in the corrected order of computation, 1 capped and 2 masked (onnx/onnx#7913), for the old
/// operator sets too. With a softcap the corrected text counts. Without one it makes 1 the same as 0, and the texts differ
/// in nothing else: a model of the operator sets up to 26, which onnx 1.21 wrote, means the masked scores by 1.
fn score_stage(cx: &NodeContext<'_, '_>, softcap: f64) -> Result<ScoreStage, Problem> {
    match cx.int("qk_matmul_output_mode", 0) {
        0 => Ok(ScoreStage::Product),
        1 if softcap == 0.0 => Ok(ScoreStage::Masked),
        1 => Ok(ScoreStage::Capped),
        2 => Ok(ScoreStage::Masked),
        3 => Ok(ScoreStage::Weights),
        other => Err(cx.problem(format!("qk_matmul_output_mode {other} is unknown"))),
    }
}

/// Attention: heads count only for operands of three dimensions.
pub fn attention(cx: &mut NodeContext<'_, '_>) -> Imported {
    let softcap = softcap(cx)?;
    let scores = score_stage(cx, softcap)?;
    let op = Attention {
        query_heads: count(cx, "q_num_heads")?,
        key_heads: count(cx, "kv_num_heads")?,
        scale: cx.optional_float("scale"),
        softcap,
        causal: cx.flag("is_causal", false),
        softmax_type: cx.data_type_attribute("softmax_precision")?,
        scores,
        fully_masked: FullyMasked::Zero,
    };
    let required = [cx.input(0)?, cx.input(1)?, cx.input(2)?].map(Some);
    let inputs: Vec<Option<Handle>> = required.into_iter().chain((3..7).map(|index| cx.optional(index))).collect();
    cx.add_optional(op, &inputs)
}

/// RotaryEmbedding of the ONNX operator set.
pub fn rotary_embedding(cx: &mut NodeContext<'_, '_>) -> Imported {
    let op = RotaryEmbedding {
        heads: count(cx, "num_heads")?,
        rotated: count(cx, "rotary_embedding_dim")?.unwrap_or(0),
        interleaved: cx.flag("interleaved", false),
    };
    let (x, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    cx.add_optional(op, &[Some(x), Some(cos), Some(sin), cx.optional(3)])
}

/// RotaryEmbedding of ONNX Runtime: the positions come second, and the heads follow from the tables when not given.
pub fn microsoft_rotary_embedding(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, positions, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    if cx.flag("is_packed_batching", false) {
        return Err(cx.problem("is_packed_batching is not supported: sequences packed into one have no batch axis"));
    }
    if cx.float("scale", 1.0) != 1.0 {
        return Err(cx.problem(format!("scale is {}; only 1 is supported", cx.float("scale", 1.0))));
    }
    let rotated = count(cx, "rotary_embedding_dim")?.unwrap_or(0);
    let mut heads = count(cx, "num_heads")?;
    if heads.is_none() && cx.rank(x)? == 3 {
        let sizes = |value: Handle| cx.dims(value).map(|d| d.last().and_then(|d| d.as_constant()));
        let (hidden, half) = (sizes(x)?, sizes(cos)?);
        heads = match (hidden, half) {
            (Some(hidden), Some(half)) if rotated == 0 && half > 0 => usize::try_from(hidden / (2 * half)).ok(),
            _ => return Err(cx.problem("num_heads is needed: the size of a head does not follow from the tables")),
        };
    }
    let op = RotaryEmbedding { heads, rotated, interleaved: cx.flag("interleaved", false) };
    cx.add_all(op, &[x, cos, sin, positions])
}
