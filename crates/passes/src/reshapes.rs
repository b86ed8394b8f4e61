//! One reshape with a constant target instead of chains of reshapes, squeezes and unsqueezes with computed ones.
//!
//! All of them keep elements and order, so a chain is one of them. The target is made of the result's dimensions: a
//! number as it is, a size of the input at the same place as 0 ("keep"), one other unknown size as -1. So the shape
//! arithmetic that exporters write disappears with its last reader. Does not fire when two sizes can only be computed
//! from values at run time.

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::Reshape;
use sinter_ops::{Node, Op, ValueId};

use crate::identities::same_dims;
use crate::pass::{Miss, miss};

/// Does the node only give its first operand another shape?
pub(crate) fn is_reshape(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_))
}

/// The value at the beginning of a chain of reshapes.
pub(crate) fn root(graph: &Graph<'_>, mut value: ValueId) -> ValueId {
    while let Some((node, _)) = graph.producer(value)
        && is_reshape(&node.op)
        && let Some(&Some(input)) = node.inputs.first()
    {
        value = input;
    }
    value
}

/// The entries of a constant target that reshapes `from` to `to`.
pub(crate) fn target(from: &[Dim], to: &[Dim]) -> Option<Vec<i64>> {
    let mut open = 0;
    let entries: Option<Vec<i64>> = to
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.as_constant() {
            Some(0) => None,
            Some(size) => Some(size),
            None if from.get(axis).is_some_and(|own| own.equals(dim) == Truth::Yes) => Some(0),
            None => {
                open += 1;
                Some(-1)
            }
        })
        .collect();
    entries.filter(|_| open <= 1)
}

/// The sizes of an old or a new value.
pub(crate) fn dims_of(patch: &Patch<'_>, id: ValueId) -> Result<Vec<Dim>, Miss> {
    match patch.ty(id).as_tensor().and_then(|ty| ty.dims().ok()) {
        Some(dims) => Ok(dims.to_vec()),
        None => miss!("a rank is not known"),
    }
}

/// The value in other sizes, with as many elements.
pub(crate) fn reshaped(patch: &mut Patch<'_>, x: ValueId, to: &[Dim]) -> Result<ValueId, Miss> {
    let from = dims_of(patch, x)?;
    if same_dims(&from, to) {
        return Ok(x);
    }
    let Some(entries) = target(&from, to) else { miss!("the sizes of {} are not decided", patch.ty(x)) };
    let shape = patch.int_list(&entries);
    Ok(patch.add_one(Reshape::default(), &[x, shape])?)
}

/// Is this a reshape by a constant?
fn is_settled(graph: &Graph<'_>, node: &Node, root: ValueId) -> bool {
    let constant = |index: usize| {
        let id = node.inputs.get(index).copied().flatten();
        id.is_some_and(|id| graph.weight(id).is_some())
    };
    matches!(node.op, Op::Reshape(_)) && node.inputs.first() == Some(&Some(root)) && constant(1)
}

/// Settles one reshape.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (true, &[result]) = (is_reshape(&node.op), node.outputs.as_slice()) else { return Ok(false) };
    let root = root(graph, result);
    if is_settled(graph, node, root) {
        return Ok(false);
    }
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
    let (Some(from), Some(to)) = (dims(root), dims(result)) else { miss!("a rank is not known") };
    if same_dims(from, to) {
        patch.replace(result, root);
        return Ok(true);
    }
    let Some(entries) = target(from, to) else {
        miss!("the sizes of {} are not decided by those of {}", graph.ty(result), graph.ty(root));
    };
    let shape = patch.int_list(&entries);
    let reshaped = patch.add_one(Reshape::default(), &[root, shape])?;
    patch.replace(result, reshaped);
    Ok(true)
}
