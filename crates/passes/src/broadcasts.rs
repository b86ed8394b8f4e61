//! Removes expansions whose readers broadcast: elementwise operators and matrix products.
//!
//! An expansion with a computed target gets a constant target where the types determine it, which makes its shape
//! arithmetic dead.

use sinter_base::Truth;
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::Expand;
use sinter_ops::{Node, Op, ValueId};
use smallvec::SmallVec;

use crate::identities::same_dims;
use crate::pass::Miss;

/// Rewrites one expansion or one reader of expansions.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    match &node.op {
        Op::Expand(_) => settle(graph, node, patch),
        Op::Pointwise(_) | Op::MatMul(_) => drop_expansions(graph, node, patch),
        _ => Ok(false),
    }
}

fn settle(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let (&[Some(x), Some(shape)], &[result]) = (node.inputs.as_slice(), node.outputs.as_slice()) else {
        return Ok(false);
    };
    if graph.weight(shape).is_some() {
        return Ok(false);
    }
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
    let (Some(from), Some(to)) = (dims(x), dims(result)) else { return Ok(false) };
    let missing = to.len() - from.len().min(to.len());
    let entries: Option<Vec<i64>> = to
        .iter()
        .enumerate()
        .map(|(axis, dim)| {
            let own = axis.checked_sub(missing).map(|own| &from[own]);
            let stays = own.is_some_and(|own| own.equals(dim) == Truth::Yes);
            if stays { Some(1) } else { dim.as_constant() }
        })
        .collect();
    let Some(entries) = entries else { return Ok(false) };
    let target = patch.int_list(&entries);
    let expanded = patch.add_one(Expand::default(), &[x, target])?;
    patch.replace(result, expanded);
    Ok(true)
}

fn drop_expansions(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let Some(&result) = node.outputs.first() else { return Ok(false) };
    let Some(required) = graph.tensor(result).and_then(|ty| ty.dims().ok()) else { return Ok(false) };
    let mut inputs: SmallVec<[Option<ValueId>; 4]> = node.inputs.iter().copied().collect();
    let mut dropped = false;
    for index in 0..inputs.len() {
        let Some((producer, _)) = inputs[index].and_then(|id| graph.producer(id)) else { continue };
        if !matches!(producer.op, Op::Expand(_)) {
            continue;
        }
        let mut tried = inputs.clone();
        tried[index] = producer.inputs[0];
        let mark = patch.mark();
        let results = patch.add(node.op.clone(), &tried);
        let fits = results.is_ok_and(|results| {
            let dims = patch.ty(results[0]).as_tensor().and_then(|ty| ty.dims().ok());
            dims.is_some_and(|dims| same_dims(dims, required)) && patch.narrowed_since(mark).is_none()
        });
        patch.undo_to(mark);
        if fits {
            inputs = tried;
            dropped = true;
        }
    }
    if dropped {
        let results = patch.add(node.op.clone(), &inputs)?;
        for (old, new) in node.outputs.iter().zip(results) {
            patch.replace(*old, new);
        }
    }
    Ok(dropped)
}
