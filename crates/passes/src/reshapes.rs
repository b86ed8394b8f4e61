//! Replaces chains of reshapes, squeezes and unsqueezes with computed targets by one reshape with a constant target.
//!
//! All of them keep elements and order, so a chain is one of them. The target is derived from the result's dimensions:
//! a number stays, a size of the input at the same position becomes 0 ("keep"), and one other unknown size becomes -1.
//! So the exporter's shape arithmetic becomes dead. If a size may be 0, -1 is ambiguous: where only axes of size 1 are
//! added or removed, the pass uses an unsqueeze or a squeeze instead. Does not fire when two sizes can only be computed
//! from values at run time.

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::{Reshape, Squeeze, Unsqueeze};
use sinter_ops::{Node, Op, ValueId};

use crate::identities::same_dims;
use crate::pass::{Miss, miss};

/// Does the node only change the shape of its first operand?
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

/// Might -1 be among these entries beside a size of 0?
fn may_be_undecided(entries: &[i64], to: &[Dim]) -> bool {
    entries.contains(&-1) && entries.iter().zip(to).any(|(entry, dim)| *entry != -1 && dim.lower_bound() < 1)
}

/// The axes of size 1 that `long` has beside all of `short`; `None` where that is not all.
fn ones_beside(short: &[Dim], long: &[Dim]) -> Option<Vec<i64>> {
    let mut rest = short.iter().peekable();
    let mut ones = Vec::new();
    for (axis, dim) in (0i64..).zip(long) {
        if rest.next_if(|own| dim.equals(own) == Truth::Yes).is_some() {
            continue;
        }
        if dim.as_constant() != Some(1) {
            return None;
        }
        ones.push(axis);
    }
    rest.peek().is_none().then_some(ones)
}

/// The operators that give `from` the sizes `to`, and the lists that they take: one, or two that move axes of size 1.
fn settled(from: &[Dim], to: &[Dim]) -> Option<Vec<(Op, Vec<i64>)>> {
    let entries = target(from, to)?;
    if may_be_undecided(&entries, to) {
        if let Some(axes) = ones_beside(from, to) {
            return Some(vec![(Unsqueeze {}.into(), axes)]);
        }
        if let Some(axes) = ones_beside(to, from) {
            return Some(vec![(Squeeze {}.into(), axes)]);
        }
        let others =
            |dims: &[Dim]| -> Vec<Dim> { dims.iter().filter(|dim| dim.as_constant() != Some(1)).cloned().collect() };
        let rest = others(from);
        if let (Some(gone), Some(made)) = (ones_beside(&rest, from), ones_beside(&rest, to)) {
            return Some(vec![(Squeeze {}.into(), gone), (Unsqueeze {}.into(), made)]);
        }
    }
    Some(vec![(Reshape::default().into(), entries)])
}

/// Adds operators that [`settled`] names.
fn add(patch: &mut Patch<'_>, mut x: ValueId, steps: Vec<(Op, Vec<i64>)>) -> Result<ValueId, Miss> {
    for (op, list) in steps {
        let list = patch.int_list(&list);
        x = patch.add_one(op, &[x, list])?;
    }
    Ok(x)
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
    let Some(steps) = settled(&from, to) else { miss!("the sizes of {} are not decided", patch.ty(x)) };
    add(patch, x, steps)
}

/// Is this the first operator of a chain, and takes a constant?
fn is_first(graph: &Graph<'_>, node: &Node, root: ValueId) -> bool {
    let list = node.inputs.get(1).copied().flatten();
    node.inputs.first() == Some(&Some(root)) && list.is_some_and(|id| graph.weight(id).is_some())
}

/// Settles one reshape.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (true, &[result]) = (is_reshape(&node.op), node.outputs.as_slice()) else { return Ok(false) };
    let root = root(graph, result);
    let is_first = is_first(graph, node, root);
    if is_first && matches!(node.op, Op::Reshape(_)) {
        return Ok(false);
    }
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
    let (Some(from), Some(to)) = (dims(root), dims(result)) else { miss!("a rank is not known") };
    if same_dims(from, to) {
        patch.replace(result, root);
        return Ok(true);
    }
    let Some(steps) = settled(from, to) else {
        miss!("the sizes of {} are not decided by those of {}", graph.ty(result), graph.ty(root));
    };
    let is_settled = match &steps[..] {
        [(op, _)] => is_first && op.kind() == node.op.kind(),
        [(squeeze, _), (unsqueeze, _)] => {
            let input = node.inputs.first().copied().flatten().and_then(|input| graph.producer(input));
            let follows = |(before, _): (&Node, usize)| {
                before.op.kind() == squeeze.kind() && before.inputs.first() == Some(&Some(root))
            };
            node.op.kind() == unsqueeze.kind() && input.is_some_and(follows)
        }
        _ => false,
    };
    if is_settled {
        return Ok(false);
    }
    let reshaped = add(patch, root, steps)?;
    patch.replace(result, reshaped);
    Ok(true)
}
