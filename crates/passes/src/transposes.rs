//! Removes transposes: two in a row become one, with reshapes between them too ([`crate::chains`]), and around operators
//! that work by row ([`crate::row_order`]); one that only permutes axes of size 1 becomes a reshape, one that swaps the last
//! two axes before a matrix product becomes the product's flag, and those of all operands of an elementwise operator
//! become one after it. In front of reshapes, axes of size 1 stay where they are, and images of convolutions
//! are transposed on all of their axes ([`crate::pixels`]).
//! Reshapes that group rows move up to others, past operators that work by row.

use sinter_base::Dim;
use sinter_ir::{Graph, Patch};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::{Node, Op, ValueId};
use smallvec::SmallVec;

use crate::chains::Chain;
use crate::pass::Miss;
use crate::reshapes::{is_reshape, reshaped};
use crate::{pixels, row_order};

/// The operand of a transpose and its permutation.
pub(crate) fn transposed<'a>(graph: &Graph<'a>, value: ValueId) -> Option<(ValueId, &'a [usize])> {
    let (node, _) = graph.producer(value)?;
    let Op::Transpose(Transpose { permutation: Some(permutation) }) = &node.op else { return None };
    Some((node.inputs.first().copied().flatten()?, permutation))
}

/// Does the permutation swap the last two axes and nothing else?
pub(crate) fn swaps_last_two(permutation: &[usize]) -> bool {
    let Some(last) = permutation.len().checked_sub(2) else { return false };
    permutation[..last].iter().copied().eq(0..last) && permutation[last..] == [last + 1, last]
}

/// Rewrites one transpose, or one reader of transposes.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    match &node.op {
        Op::Transpose(op) => Ok(merge(graph, node, op, patch)?
            || row_order::merge(graph, position, patch)?
            || pixels::beside_image(graph, node, patch)?),
        op if is_reshape(op) => {
            Ok(row_order::regroup(graph, position, patch)? || pixels::beside_image(graph, node, patch)?)
        }
        Op::MatMul(op) => into_product(graph, node, op, patch),
        Op::Pointwise(_) => sink(graph, node, patch),
        _ => Ok(false),
    }
}

fn merge(graph: &Graph<'_>, node: &Node, op: &Transpose, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let (Some(&Some(input)), &[result]) = (node.inputs.first(), node.outputs.as_slice()) else { return Ok(false) };
    let Some(dims) = graph.tensor(input).and_then(|ty| ty.dims().ok()) else { return Ok(false) };
    let Some(permutation) = &op.permutation else {
        // Explicit, so that all transposes have the same form.
        let reversed = Transpose { permutation: Some((0..dims.len()).rev().collect()) };
        let spelt = patch.add_one(reversed, &[input])?;
        patch.replace(result, spelt);
        return Ok(true);
    };
    if let Some((inner, first)) = transposed(graph, input) {
        let both: Vec<usize> = permutation.iter().map(|&axis| first[axis]).collect();
        let merged = if both.iter().copied().eq(0..both.len()) {
            inner
        } else {
            patch.add_one(Transpose { permutation: Some(both) }, &[inner])?
        };
        patch.replace(result, merged);
        return Ok(true);
    }
    // Axes of size 1 may stand anywhere: what counts is the order of the others.
    let is_one = |axis: &usize| dims[*axis].as_constant() == Some(1);
    let moved = permutation.iter().filter(|axis| !is_one(axis));
    if !permutation.iter().copied().eq(0..dims.len()) && moved.is_sorted() {
        let to: Vec<Dim> = permutation.iter().map(|&axis| dims[axis].clone()).collect();
        let reshaped = reshaped(patch, input, &to)?;
        patch.replace(result, reshaped);
        return Ok(true);
    }
    if let Some(chain) = Chain::of(graph, result).filter(|chain| chain.transposes > 1) {
        patch.set_origins(chain.nodes.iter().copied());
        let made = chain.rebuilt(patch)?;
        patch.replace(result, made);
        return Ok(true);
    }
    without_ones(graph, (input, dims), (permutation, result), patch)
}

/// A transpose in front of reshapes permutes no axis of size 1; behind a reshape it has none.
fn without_ones(
    graph: &Graph<'_>,
    (input, dims): (ValueId, &[Dim]),
    (permutation, result): (&[usize], ValueId),
    patch: &mut Patch<'_>,
) -> Result<bool, Miss> {
    let is_one = |axis: usize| dims[axis].as_constant() == Some(1);
    let moves_one = permutation.iter().enumerate().any(|(slot, axis)| slot != *axis && is_one(*axis));
    let users = graph.users(result);
    let are_reshapes = users.iter().all(|user| is_reshape(&graph.node(*user).op));
    if !moves_one || !are_reshapes || users.is_empty() || graph.is_result(result) {
        return Ok(false);
    }
    let to: Vec<Dim> = permutation.iter().map(|axis| dims[*axis].clone()).collect();
    let others: Vec<usize> = permutation.iter().copied().filter(|axis| !is_one(*axis)).collect();
    let mut sorted = others.clone();
    sorted.sort_unstable();
    let is_reshaped = graph.producer(input).is_some_and(|(node, _)| is_reshape(&node.op));
    let (x, moved) = if is_reshaped {
        let sizes: Vec<Dim> = sorted.iter().map(|axis| dims[*axis].clone()).collect();
        let place = |axis: &usize| sorted.binary_search(axis).unwrap_or_default();
        (reshaped(patch, input, &sizes)?, others.iter().map(place).collect())
    } else {
        let mut next = others.into_iter();
        let axis = |slot: usize| if is_one(slot) { slot } else { next.next().unwrap_or(slot) };
        (input, (0..dims.len()).map(axis).collect())
    };
    let moved = patch.add_one(Transpose { permutation: Some(moved) }, &[x])?;
    let made = reshaped(patch, moved, &to)?;
    patch.replace(result, made);
    Ok(true)
}

fn into_product(graph: &Graph<'_>, node: &Node, op: &MatMul, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let &[Some(a), Some(b)] = node.inputs.as_slice() else { return Ok(false) };
    let swapped = |id: ValueId| transposed(graph, id).filter(|(_, p)| swaps_last_two(p)).map(|(inner, _)| inner);
    let (new_a, new_b) = (swapped(a), swapped(b));
    if new_a.is_none() && new_b.is_none() {
        return Ok(false);
    }
    let product =
        MatMul { transpose_a: op.transpose_a != new_a.is_some(), transpose_b: op.transpose_b != new_b.is_some() };
    let result = patch.add_one(product, &[new_a.unwrap_or(a), new_b.unwrap_or(b)])?;
    patch.replace(node.outputs[0], result);
    Ok(true)
}

/// `f(T x, T y)` is `T f(x, y)`: one transpose instead of two, and one that may meet another below.
fn sink(graph: &Graph<'_>, node: &Node, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let mut common: Option<&[usize]> = None;
    let mut inputs: SmallVec<[Option<ValueId>; 4]> = SmallVec::new();
    let mut transposes = 0;
    for input in &node.inputs {
        let &Some(id) = input else { return Ok(false) };
        let is_scalar = graph.tensor(id).and_then(|ty| ty.shape.rank()) == Some(0);
        match transposed(graph, id) {
            _ if is_scalar => inputs.push(Some(id)),
            Some((inner, permutation)) if common.is_none_or(|c| c == permutation) => {
                if !graph.has_one_use(id) {
                    return Ok(false);
                }
                common = Some(permutation);
                transposes += 1;
                inputs.push(Some(inner));
            }
            _ => return Ok(false),
        }
    }
    let Some(permutation) = common else { return Ok(false) };
    // With a single operand this only helps if another transpose follows.
    let followed = node
        .outputs
        .iter()
        .flat_map(|id| graph.users(*id))
        .any(|user| matches!(graph.node(*user).op, Op::Transpose(_)));
    if transposes < 2 && !followed {
        return Ok(false);
    }
    let results = patch.add(node.op.clone(), &inputs)?;
    for (old, new) in node.outputs.iter().zip(results) {
        let behind = patch.add_one(Transpose { permutation: Some(permutation.to_vec()) }, &[new])?;
        patch.replace(*old, behind);
    }
    Ok(true)
}
