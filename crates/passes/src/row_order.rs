//! Transposes and reshapes around operators that work by row: those that only permute or group rows meet others and
//! become one with them.
//!
//! A product with a weight, elementwise work with operands that are the same for all rows, and slices and reshapes of the
//! other axes give the same rows in any order of rows, also where a reshape joins all rows in one axis. So a transpose
//! of rows moves down where each way leads to another transpose, or up to one above it. Attention that computes with
//! the sequence in front of the batch has such transposes around all of it. A reshape that only groups rows moves up to
//! another reshape, so that elementwise work behind it stands behind the product.

use std::collections::{BTreeMap, BTreeSet};

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::axes::axis_of;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::{Node, Op, ValueId};

use crate::chains::Chain;
use crate::identities::same_dims;
use crate::pass::Miss;
use crate::reshapes::{is_reshape, reshaped};
use crate::transposes::transposed;

/// Limit on the operators between two transposes.
const LONGEST: usize = 16;

/// The leading axes that a permutation may mix: behind them every axis stays.
fn rows_of(permutation: &[usize]) -> usize {
    let moved = permutation.iter().enumerate().rev().find(|(slot, axis)| slot != *axis);
    moved.map_or(0, |(slot, _)| slot + 1)
}

fn dims_of<'a>(graph: &Graph<'a>, id: ValueId) -> Option<&'a [Dim]> {
    graph.tensor(id)?.dims().ok()
}

/// The operand whose rows an operator works on, one by one.
fn rows_operand(graph: &Graph<'_>, node: &Node) -> Option<ValueId> {
    let &[result] = node.outputs.as_slice() else { return None };
    match &node.op {
        Op::MatMul(MatMul { transpose_a: false, .. }) => {
            let &[Some(x), Some(weight)] = node.inputs.as_slice() else { return None };
            let is_weight = graph.weight(weight).is_some() && dims_of(graph, weight)?.len() == 2;
            is_weight.then_some(x)
        }
        Op::Pointwise(_) => {
            let to = dims_of(graph, result)?;
            let mut rows = None;
            for input in node.inputs.iter() {
                let dims = dims_of(graph, (*input)?)?;
                if same_dims(dims, to) && rows.is_none() {
                    rows = *input;
                } else if *input != rows && dims.iter().rev().skip(1).any(|dim| dim.as_constant() != Some(1)) {
                    return None;
                }
            }
            rows
        }
        Op::Slice(_) => node.inputs.first().copied().flatten(),
        op if is_reshape(op) => node.inputs.first().copied().flatten(),
        _ => None,
    }
}

/// Leading axes in two orders.
struct Rows<'g, 'a> {
    graph: &'g Graph<'a>,
    /// Their sizes before.
    old: Vec<Dim>,
    /// Their sizes in the other order.
    new: Vec<Dim>,
}

impl Rows<'_, '_> {
    /// Are the rows joined in one axis behind this operator? `None` where it does not work by row.
    fn joined_behind(&self, position: usize, is_joined: bool) -> Option<bool> {
        let node = self.graph.node(position);
        let dims = dims_of(self.graph, *node.outputs.first()?)?;
        let count = self.old.len();
        if is_reshape(&node.op) {
            if dims.get(..count).is_some_and(|own| same_dims(own, &self.old)) {
                return Some(false);
            }
            let joined = self.old.iter().fold(Dim::constant(1), |all, dim| all.mul(dim));
            return dims.first().filter(|own| own.equals(&joined) == Truth::Yes).map(|_| true);
        }
        let rows = if is_joined { 1 } else { count };
        if matches!(node.op, Op::Slice(_)) {
            let axes = node.inputs.get(3).copied().flatten()?;
            let axes = self.graph.weight(axes).and_then(|_| self.graph.tensor(axes)?.constant_ints())?;
            let is_behind = |axis: &i64| axis_of(*axis, dims.len()).is_ok_and(|axis| axis >= rows);
            return Some(false).filter(|_| !is_joined && axes.iter().all(is_behind));
        }
        // The last axis is no row.
        Some(is_joined).filter(|_| dims.len() > rows)
    }

    /// The operator on this operand with its rows in the new order, each in an axis of its own.
    fn on(&self, position: usize, x: ValueId, patch: &mut Patch<'_>) -> Result<ValueId, Miss> {
        let node = self.graph.node(position);
        let missing = || Miss("an operator has no sizes".to_owned());
        let operand = rows_operand(self.graph, node).ok_or_else(missing)?;
        if is_reshape(&node.op) {
            let dims = node.outputs.first().and_then(|id| dims_of(self.graph, *id)).ok_or_else(missing)?;
            let count = self.old.len();
            let is_split = dims.get(..count).is_some_and(|own| same_dims(own, &self.old));
            let behind = dims.iter().skip(if is_split { count } else { 1 });
            let to: Vec<Dim> = self.new.iter().chain(behind).cloned().collect();
            return reshaped(patch, x, &to);
        }
        let inputs: Vec<Option<ValueId>> =
            node.inputs.iter().map(|input| if *input == Some(operand) { Some(x) } else { *input }).collect();
        patch.add(node.op.clone(), &inputs)?.first().copied().ok_or_else(missing)
    }
}

/// Moves this transpose to others, and removes it.
pub(crate) fn merge(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let &[result] = node.outputs.as_slice() else { return Ok(false) };
    let Some((x, permutation)) = transposed(graph, result) else { return Ok(false) };
    let rows = rows_of(permutation);
    if rows == 0 {
        return Ok(false);
    }
    Ok(down(graph, (x, result), &permutation[..rows], patch)? || up(graph, (x, result), &permutation[..rows], patch)?)
}

/// The axes of a permutation, and others behind them that stay.
fn extended(permutation: &[usize], rank: usize) -> Vec<usize> {
    permutation.iter().copied().chain(permutation.len()..rank).collect()
}

/// Moves a transpose up to the one above it.
fn up(
    graph: &Graph<'_>,
    (last, result): (ValueId, ValueId),
    permutation: &[usize],
    patch: &mut Patch<'_>,
) -> Result<bool, Miss> {
    let (mut nodes, mut at) = (Vec::new(), last);
    let (x, above) = loop {
        if graph.is_result(at) || !graph.has_one_use(at) || nodes.len() > LONGEST {
            return Ok(false);
        }
        if let Some(found) = transposed(graph, at) {
            break found;
        }
        let Some(position) = graph.producer_position(at) else { return Ok(false) };
        let Some(operand) = rows_operand(graph, graph.node(position)) else { return Ok(false) };
        nodes.push(position);
        at = operand;
    };
    nodes.reverse();
    let (count, dims) = (permutation.len(), dims_of(graph, at).unwrap_or_default());
    if nodes.is_empty() || dims.len() < count {
        return Ok(false);
    }
    let new = permutation.iter().map(|axis| dims[*axis].clone()).collect();
    let rows = Rows { graph, old: dims[..count].to_vec(), new };
    let joined = nodes.iter().try_fold(false, |is_joined, node| rows.joined_behind(*node, is_joined));
    if joined != Some(false) {
        return Ok(false);
    }
    let moved = [at, result].into_iter().filter_map(|id| graph.producer_position(id));
    patch.set_origins(nodes.iter().copied().chain(moved));
    let both: Vec<usize> = extended(permutation, above.len()).iter().map(|axis| above[*axis]).collect();
    let mut made = match both.iter().copied().eq(0..both.len()) {
        true => x,
        false => patch.add_one(Transpose { permutation: Some(both) }, &[x])?,
    };
    for node in nodes {
        made = rows.on(node, made, patch)?;
    }
    patch.replace(result, made);
    Ok(true)
}

/// Moves a reshape of rows up to the reshape above operators that work by row.
pub(crate) fn regroup(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (Some(&Some(last)), &[result]) = (node.inputs.first(), node.outputs.as_slice()) else { return Ok(false) };
    let (Some([old @ .., size]), Some([new @ .., own])) = (dims_of(graph, last), dims_of(graph, result)) else {
        return Ok(false);
    };
    if !is_reshape(&node.op) || size.equals(own) != Truth::Yes || old.is_empty() || new.is_empty() {
        return Ok(false);
    }
    let (mut nodes, mut at) = (Vec::new(), last);
    let x = loop {
        let Some(position) = graph.producer_position(at) else { return Ok(false) };
        if graph.is_result(at) || !graph.has_one_use(at) || nodes.len() > LONGEST {
            return Ok(false);
        }
        let above = graph.node(position);
        let Some(operand) = rows_operand(graph, above).filter(|_| !matches!(above.op, Op::Slice(_))) else {
            return Ok(false);
        };
        if is_reshape(&above.op) {
            break operand;
        }
        nodes.push(position);
        at = operand;
    };
    nodes.reverse();
    let rows = Rows { graph, old: old.to_vec(), new: new.to_vec() };
    let keeps_rows =
        dims_of(graph, at).is_some_and(|dims| dims.len() == old.len() + 1 && same_dims(&dims[..old.len()], old));
    if nodes.is_empty() || !keeps_rows || !nodes.iter().all(|node| rows.joined_behind(*node, false) == Some(false)) {
        return Ok(false);
    }
    let Some(columns) = dims_of(graph, at).and_then(<[Dim]>::last) else { return Ok(false) };
    patch.set_origins(nodes.iter().copied().chain([position]));
    let to: Vec<Dim> = new.iter().chain([columns]).cloned().collect();
    let mut made = reshaped(patch, x, &to)?;
    for node in nodes {
        made = rows.on(node, made, patch)?;
    }
    patch.replace(result, made);
    Ok(true)
}

/// The ways down from a transpose of rows.
#[derive(Default)]
struct Ways {
    /// Operators that work by row, each with its operand.
    nodes: BTreeMap<usize, ValueId>,
    /// Values that other transposes read.
    ends: BTreeSet<ValueId>,
}

impl Ways {
    /// Follows all readers of a value; false where one needs the old order of rows.
    fn follow(&mut self, rows: &Rows<'_, '_>, id: ValueId, is_joined: bool) -> bool {
        let graph = rows.graph;
        if graph.is_result(id) || graph.users(id).is_empty() {
            return false;
        }
        graph.users(id).iter().all(|user| {
            if !is_joined && leads_to_transpose(graph, *user, 1) {
                self.ends.insert(id);
                return true;
            }
            let node = graph.node(*user);
            if rows_operand(graph, node) != Some(id) || self.nodes.len() >= LONGEST {
                return false;
            }
            let Some(is_joined) = rows.joined_behind(*user, is_joined) else { return false };
            self.nodes.insert(*user, id);
            self.follow(rows, node.outputs[0], is_joined)
        })
    }
}

/// Is this node a transpose, or a reshape in front of transposes alone, that becomes one with a transpose in front of the
/// node `above` nodes up?
fn leads_to_transpose(graph: &Graph<'_>, position: usize, above: usize) -> bool {
    let node = graph.node(position);
    let &[result] = node.outputs.as_slice() else { return false };
    if matches!(node.op, Op::Transpose(_)) {
        return Chain::of(graph, result).is_some_and(|chain| chain.nodes.len() >= above);
    }
    let users = graph.users(result);
    is_reshape(&node.op)
        && above < LONGEST
        && !graph.is_result(result)
        && !users.is_empty()
        && users.iter().all(|user| leads_to_transpose(graph, *user, above + 1))
}

/// Moves a transpose of rows down to others on all ways.
fn down(
    graph: &Graph<'_>,
    (x, result): (ValueId, ValueId),
    permutation: &[usize],
    patch: &mut Patch<'_>,
) -> Result<bool, Miss> {
    let count = permutation.len();
    let sizes = |id: ValueId| dims_of(graph, id).and_then(|dims| Some(dims.get(..count)?.to_vec()));
    let (Some(old), Some(new)) = (sizes(result), sizes(x)) else { return Ok(false) };
    let rows = Rows { graph, old, new };
    let mut ways = Ways::default();
    if !ways.follow(&rows, result, false) || ways.nodes.is_empty() || ways.ends.contains(&result) {
        return Ok(false);
    }
    let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::from([(result, x)]);
    for (position, operand) in &ways.nodes {
        patch.set_origins([*position].into_iter().chain(graph.producer_position(result)));
        let Some(&x) = made.get(operand) else { return Ok(false) };
        made.insert(graph.node(*position).outputs[0], rows.on(*position, x, patch)?);
    }
    patch.set_origins(graph.producer_position(result));
    for end in &ways.ends {
        let (Some(&x), Some(dims)) = (made.get(end), dims_of(graph, *end)) else { return Ok(false) };
        let permutation = Some(extended(permutation, dims.len()));
        let y = patch.add_one(Transpose { permutation }, &[x])?;
        patch.replace(*end, y);
    }
    Ok(true)
}
