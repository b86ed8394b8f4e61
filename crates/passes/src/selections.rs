//! Selections of one index as slices, and slices in front of transposes.
//!
//! A gather of a constant index along an axis is a slice, without the axis where the index has none, so that readers
//! can read it where it lies. A slice behind a transpose becomes one in front of it where all readers of the transpose
//! are slices and each leads to another transpose, with which it becomes one, or to attention, which reads heads in
//! either order. Does not fire along the last axis, where a slice is rows of one element, and for an index that may
//! lie outside of the axis, which is an error of a run.

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::axes::axis_of;
use sinter_ops::movement::{Slice, Transpose};
use sinter_ops::{Node, Op, ValueId};

use crate::pass::Miss;
use crate::reshapes::{dims_of, is_reshape, reshaped};
use crate::transposes::transposed;

/// Limit on the reshapes between a slice and the operator that it leads to.
const LONGEST: usize = 4;

/// Rewrites one selection or slice.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    match &node.op {
        Op::Gather(op) => sliced(graph, node, op.axis, patch),
        Op::Slice(_) => in_front(graph, node, patch),
        _ => Ok(false),
    }
}

fn sliced(graph: &Graph<'_>, node: &Node, axis: i64, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let (&[Some(x), Some(index)], &[result]) = (node.inputs.as_slice(), node.outputs.as_slice()) else {
        return Ok(false);
    };
    let ints = graph.tensor(index).and_then(|ty| ty.constant_ints());
    let Some(&[at]) = ints.as_deref() else { return Ok(false) };
    let has_contents = graph.tensor(result).is_none_or(|ty| ty.value.is_some());
    if has_contents || graph.weight(index).is_none() || graph.weight(x).is_some() {
        return Ok(false);
    }
    let dims = dims_of(patch, x)?;
    let Ok(axis) = axis_of(axis, dims.len()) else { return Ok(false) };
    if axis + 1 == dims.len() {
        // Rows of one element, which no reader reads in place.
        return Ok(false);
    }
    let least = dims[axis].lower_bound();
    if at >= least || at < -least {
        return Ok(false);
    }
    let end = if at == -1 { i64::from(i32::MAX) } else { at + 1 };
    let lists = [at, end, i64::try_from(axis).unwrap_or_default()].map(|number| patch.int_list(&[number]));
    let part = patch.add_one(Slice {}, &[x, lists[0], lists[1], lists[2]])?;
    let to = dims_of(patch, result)?;
    let made = reshaped(patch, part, &to)?;
    patch.replace(result, made);
    Ok(true)
}

/// Do all readers of a value, behind reshapes, make the transpose above it vanish?
fn absorb_transposes(graph: &Graph<'_>, id: ValueId, depth: usize) -> bool {
    let users = graph.users(id);
    let absorbs = |user: &usize| {
        let node = graph.node(*user);
        match &node.op {
            Op::Transpose(_) => true,
            Op::Attention(_) => node.inputs.iter().take(3).any(|input| *input == Some(id)),
            op if is_reshape(op) => depth > 0 && absorb_transposes(graph, node.outputs[0], depth - 1),
            _ => false,
        }
    };
    !graph.is_result(id) && !users.is_empty() && users.iter().all(absorbs)
}

/// A slice with constant axes whose readers absorb a transpose.
fn is_movable(graph: &Graph<'_>, node: &Node) -> bool {
    let axes = node.inputs.get(3).copied().flatten();
    matches!(node.op, Op::Slice(_))
        && axes.is_some_and(|axes| graph.weight(axes).is_some())
        && node.outputs.iter().all(|id| absorb_transposes(graph, *id, LONGEST))
}

/// The transpose that makes a value, behind a reshape that adds or drops axes of size 1 too; and by axis of the value, that of
/// the transpose.
fn transpose_of(graph: &Graph<'_>, whole: ValueId) -> Option<(ValueId, Vec<Option<usize>>)> {
    let dims = |id: ValueId| graph.tensor(id)?.dims().ok();
    if transposed(graph, whole).is_some() {
        return Some((whole, (0..dims(whole)?.len()).map(Some).collect()));
    }
    let (reshape, _) = graph.producer(whole).filter(|(node, _)| is_reshape(&node.op))?;
    let inner = reshape.inputs.first().copied().flatten()?;
    if transposed(graph, inner).is_none() || !graph.has_one_use(inner) || graph.is_result(inner) {
        return None;
    }
    let is_other = |dim: &Dim| dim.as_constant() != Some(1);
    let mut others = dims(inner)?.iter().enumerate().filter(|(_, dim)| is_other(dim));
    let mut axes = Vec::new();
    for dim in dims(whole)? {
        let axis = is_other(dim).then(|| others.next());
        axes.push(match axis {
            None => None,
            Some(Some((axis, own))) if own.equals(dim) == Truth::Yes => Some(axis),
            Some(_) => return None,
        });
    }
    others.next().is_none().then_some((inner, axes))
}

fn in_front(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let (Some(&Some(whole)), &[result]) = (node.inputs.first(), node.outputs.as_slice()) else { return Ok(false) };
    let Some((inner, places)) = transpose_of(graph, whole) else { return Ok(false) };
    let Some((x, permutation)) = transposed(graph, inner) else { return Ok(false) };
    let are_movable = graph.users(whole).iter().all(|user| is_movable(graph, graph.node(*user)));
    if !are_movable || graph.is_result(whole) {
        return Ok(false);
    }
    let axes = node.inputs.get(3).copied().flatten().and_then(|axes| graph.tensor(axes)?.constant_ints());
    let moved: Option<Vec<i64>> = axes.and_then(|axes| {
        let axis = |axis: &i64| {
            let place = places.get(axis_of(*axis, places.len()).ok()?).copied().flatten()?;
            i64::try_from(permutation[place]).ok()
        };
        axes.iter().map(axis).collect()
    });
    let Some(moved) = moved else { return Ok(false) };
    let mut inputs: Vec<Option<ValueId>> = node.inputs.to_vec();
    inputs[0] = Some(x);
    inputs[3] = Some(patch.int_list(&moved));
    let part = patch.add(Slice {}, &inputs)?[0];
    let made = patch.add_one(Transpose { permutation: Some(permutation.to_vec()) }, &[part])?;
    let to = dims_of(patch, result)?;
    let made = reshaped(patch, made, &to)?;
    patch.replace(result, made);
    Ok(true)
}
