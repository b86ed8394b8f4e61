//! Gives every reader of dequantized values its own dequantization: the quantization is a property of the operand, and
//! a region can then contain both operators.
//!
//! `f(d), g(d) with d = dequantize(x)` becomes `f(dequantize(x)), g(dequantize(x))`. The first reader keeps the
//! existing one. Does not fire on dequantized weights, which no run computes, or in front of control flow. The passes
//! that merge equal nodes come before this one.

use std::collections::HashMap;

use sinter_ir::{Graph, Patch};
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::pass::Miss;

/// Gives one reader its own dequantizations.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    if !node.op.bodies().is_empty() {
        return Ok(false);
    }
    let mut own: HashMap<ValueId, ValueId> = HashMap::new();
    for &id in node.inputs.iter().flatten() {
        let Some((producer, _)) = graph.producer(id) else { continue };
        let is_first = graph.users(id).first() == Some(&position);
        let of_weights = producer.inputs.iter().flatten().all(|input| graph.weight(*input).is_some());
        if !matches!(producer.op, Op::Dequantize(_)) || is_first || of_weights || own.contains_key(&id) {
            continue;
        }
        patch.set_origins(graph.producer_position(id));
        let copy = patch.add_typed(producer.op.clone(), &producer.inputs, vec![graph.ty(id).clone()]);
        own.insert(id, copy[0]);
    }
    if own.is_empty() {
        return Ok(false);
    }
    let of = |id: ValueId| own.get(&id).copied().unwrap_or(id);
    let inputs: SmallVec<[Option<ValueId>; 4]> = node.inputs.iter().map(|input| input.map(of)).collect();
    let types = node.outputs.iter().map(|id| graph.ty(*id).clone()).collect();
    patch.set_origins([position]);
    let results = patch.add_typed(node.op.clone(), &inputs, types);
    node.outputs.iter().zip(results).for_each(|(old, new)| patch.replace(*old, new));
    Ok(true)
}
