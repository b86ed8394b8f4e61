//! Merges equal nodes (equal operators and operands) and equal weights (equal expressions).
//!
//! Random operators are never equal, nor are nodes that may fail on purpose: which of them fails is visible.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::DataType;
use sinter_ir::{Graph, Patch, WeightExpr};
use sinter_ops::{Effects, Node, ValueId};

/// Constants up to this many bytes are compared by content.
const COMPARED_BYTES: usize = 256;

/// The hash key of a weight; only weights with equal keys are compared.
#[derive(PartialEq, Eq, Hash)]
enum WeightKey {
    Same(*const WeightExpr),
    Small(DataType, Vec<usize>, Vec<u8>),
    Apply(u32, Vec<Option<*const WeightExpr>>, usize),
}

fn weight_key(expr: &Arc<WeightExpr>) -> WeightKey {
    match &**expr {
        WeightExpr::Source { name, tensor, .. }
            if name.is_empty() && tensor.data_type() != DataType::String && tensor.bytes().len() <= COMPARED_BYTES =>
        {
            WeightKey::Small(tensor.data_type(), tensor.sizes().to_vec(), tensor.bytes().to_vec())
        }
        WeightExpr::Source { .. } => WeightKey::Same(Arc::as_ptr(expr)),
        WeightExpr::Apply { op, inputs, output } => {
            WeightKey::Apply(op.tag(), inputs.iter().map(|i| i.as_ref().map(Arc::as_ptr)).collect(), *output)
        }
    }
}

fn same_weight(a: &WeightExpr, b: &WeightExpr) -> bool {
    match (a, b) {
        (WeightExpr::Apply { op: a, .. }, WeightExpr::Apply { op: b, .. }) => a == b,
        // Sources with equal keys are equal.
        _ => true,
    }
}

/// Number of values that equal an earlier one.
pub(crate) fn sweep(graph: &Graph<'_>, patch: &mut Patch<'_>) -> usize {
    let mut found = 0;
    // The first equal value of each value.
    let mut first: Vec<ValueId> = (0..graph.body().value_count()).map(ValueId::new).collect();
    let mut weights: HashMap<WeightKey, Vec<ValueId>> = HashMap::new();
    for id in graph.body().inputs() {
        let Some(expr) = graph.weight(*id) else { continue };
        let equals = weights.entry(weight_key(expr)).or_default();
        let known = equals.iter().find(|known| {
            graph.ty(**known) == graph.ty(*id) && graph.weight(**known).is_some_and(|known| same_weight(known, expr))
        });
        match known {
            Some(known) => {
                first[id.index()] = *known;
                if !graph.users(*id).is_empty() || graph.is_result(*id) {
                    patch.replace(*id, *known);
                    found += 1;
                }
            }
            None => equals.push(*id),
        }
    }
    let mut nodes: HashMap<(u32, Vec<Option<ValueId>>), Vec<&Node>> = HashMap::new();
    for node in graph.body().nodes() {
        if node.op.effects() != Effects::NONE || !node.op.bodies().is_empty() {
            continue;
        }
        let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|i| i.map(|id| first[id.index()])).collect();
        let equals = nodes.entry((node.op.tag(), inputs)).or_default();
        match equals.iter().find(|known| known.op == node.op) {
            Some(known) => {
                found += 1;
                for (own, other) in node.outputs.iter().zip(&known.outputs) {
                    first[own.index()] = *other;
                    patch.replace(*own, *other);
                }
            }
            None => equals.push(node),
        }
    }
    found
}
