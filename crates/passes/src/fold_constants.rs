//! Replaces known values by constants, and nodes that depend on weights only by weight expressions.
//!
//! A value with known contents becomes a constant. A pure node whose operands are weights becomes a weight expression:
//! the builder evaluates it when it writes the plan, and refit can replay it. Does not fire
//! * across a quantization: kernels are chosen by the quantization of a weight;
//! * where the result is larger than the operands: the plan would grow;
//! * on expressions nested deeper than [`MAX_DEPTH`], so that evaluating them needs no deep stack.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::ValueType;
use sinter_ir::{Graph, Patch, WeightExpr};
use sinter_ops::{Effects, Node, Op, ValueId};

use crate::pass::{Miss, miss};

/// Results with at most this many bytes may be larger than their operands.
const SMALL_BYTES: i64 = 1 << 16;

/// Deepest nesting of weight expressions.
const MAX_DEPTH: usize = 256;

fn bytes(ty: &ValueType) -> Option<i64> {
    let tensor = ty.as_tensor()?;
    let count = tensor.shape.count().ok()?.as_constant()?;
    count.checked_mul(i64::try_from(tensor.data_type.bits()).ok()?).map(|bits| bits / 8)
}

/// Length of the longest chain of operators in an expression.
fn depth(expr: &Arc<WeightExpr>) -> usize {
    let mut depths: HashMap<*const WeightExpr, usize> = HashMap::new();
    let mut last = 0;
    WeightExpr::visit([expr], &mut |expr| {
        last = match &**expr {
            WeightExpr::Source { .. } => 0,
            WeightExpr::Apply { inputs, .. } => {
                1 + inputs.iter().flatten().filter_map(|i| depths.get(&Arc::as_ptr(i))).max().copied().unwrap_or(0)
            }
        };
        depths.insert(Arc::as_ptr(expr), last);
    });
    last
}

fn becomes_constant(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> bool {
    let mut fired = false;
    for id in &node.outputs {
        let is_read = !graph.users(*id).is_empty() || graph.is_result(*id);
        if is_read && let Some(tensor) = graph.tensor(*id).and_then(|ty| ty.constant()) {
            let constant = patch.constant(tensor);
            patch.replace(*id, constant);
            fired = true;
        }
    }
    fired
}

/// Folds one node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let is_pure = node.op.effects() == Effects::NONE && node.op.bodies().is_empty();
    if !is_pure || matches!(node.op, Op::Quantize(_) | Op::Dequantize(_)) {
        return Ok(false);
    }
    // A known float that is made of weights stays an expression of them, so that refit reaches it.
    let is_float = node.outputs.iter().all(|id| graph.ty(*id).data_type().is_float());
    let of_weights = node.inputs.iter().flatten().all(|id| graph.weight(*id).is_some());
    if !(is_float && of_weights) && becomes_constant(graph, node, patch) {
        return Ok(true);
    }
    // Operands may have become weights in this sweep.
    let inputs: Option<Vec<Option<Arc<WeightExpr>>>> = node
        .inputs
        .iter()
        .map(|input| match input {
            None => Some(None),
            Some(id) => weight_behind(*id, patch).map(Some),
        })
        .collect();
    let Some(inputs) = inputs else { return Ok(false) };
    if inputs.iter().all(Option::is_none) || node.outputs.iter().any(|id| graph.tensor(*id).is_none()) {
        return Ok(false);
    }
    let sum = |ids: &mut dyn Iterator<Item = ValueId>| ids.map(|id| bytes(graph.ty(id))).sum::<Option<i64>>();
    let made = sum(&mut node.outputs.iter().copied());
    let (Some(made), Some(given)) = (made, sum(&mut node.inputs.iter().flatten().copied())) else {
        miss!("its sizes are not all known");
    };
    if made > given.max(SMALL_BYTES) {
        miss!("its result of {made} bytes is larger than its operands of {given} bytes");
    }
    if inputs.iter().flatten().map(depth).max() >= Some(MAX_DEPTH) {
        miss!("the weights that it is made of are nested {MAX_DEPTH} operators deep");
    }
    for (output, id) in node.outputs.iter().enumerate() {
        let expr = WeightExpr::Apply { op: node.op.clone(), inputs: inputs.clone(), output };
        let folded = patch.weight(Arc::new(expr), graph.ty(*id).clone());
        patch.replace(*id, folded);
    }
    Ok(true)
}

fn weight_behind(id: ValueId, patch: &Patch<'_>) -> Option<Arc<WeightExpr>> {
    patch.weight_of(patch.current(id))
}
