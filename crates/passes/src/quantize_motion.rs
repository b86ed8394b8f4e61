//! Moves a dequantization after data movement, so that kernels move the narrow type, and the dequantization is next to
//! a quantization or a product.
//!
//! `move(dequantize(x)) = dequantize(move(x))` exactly for reshapes, transposes and slices where the whole tensor has
//! one scale. Does not fire with scales per axis or block, or when the real values have other readers.

use sinter_base::quantization::Granularity;
use sinter_ir::{Graph, Patch};
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::pass::{Miss, miss};

/// Does the operator only move the elements of its first operand, whatever their type?
fn only_moves(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Transpose(_) | Op::Slice(_))
}

/// Moves the dequantization before a node to after it.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (true, &[result]) = (only_moves(&node.op), node.outputs.as_slice()) else { return Ok(false) };
    let Some(&Some(real)) = node.inputs.first() else { return Ok(false) };
    let Some((producer, _)) = graph.producer(real) else { return Ok(false) };
    let Op::Dequantize(dequantize) = &producer.op else { return Ok(false) };
    if dequantize.granularity != Granularity::Tensor {
        miss!("the scales are not one for the whole tensor");
    }
    if !graph.has_one_use(real) {
        miss!("the real values are read elsewhere too");
    }
    patch.set_origins(graph.producer_position(real).into_iter().chain([position]));
    let mut inputs: SmallVec<[Option<ValueId>; 4]> = node.inputs.iter().copied().collect();
    inputs[0] = producer.inputs[0];
    let stored = patch.add(node.op.clone(), &inputs)?[0];
    let mut operands: SmallVec<[Option<ValueId>; 4]> = producer.inputs.iter().copied().collect();
    operands[0] = Some(stored);
    let moved = patch.add(producer.op.clone(), &operands)?[0];
    patch.replace(result, moved);
    Ok(true)
}
