//! Transposes around operators that work by row: two become one.
//!
//! A product with a weight, elementwise work with operands that are the same for all rows, and reshapes of the other
//! axes give the same rows in any order of rows, also where a reshape joins all rows in one axis. So of two transposes
//! around such operators, one that only permutes rows moves to the other one, as in attention that computes with the
//! sequence in front of the batch.

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::{Node, Op, ValueId};

use crate::identities::same_dims;
use crate::pass::Miss;
use crate::reshapes::{is_reshape, reshaped};
use crate::transposes::transposed;

/// Limit on the operators between two transposes.
const LONGEST: usize = 8;

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
        op if is_reshape(op) => node.inputs.first().copied().flatten(),
        _ => None,
    }
}

/// The operators between two transposes, from the first to the last.
struct Between<'g, 'a> {
    graph: &'g Graph<'a>,
    nodes: Vec<usize>,
    /// The result of the first transpose.
    first: ValueId,
}

impl<'g, 'a> Between<'g, 'a> {
    /// The operators above this operand of a transpose, up to another transpose.
    fn above(graph: &'g Graph<'a>, last: ValueId) -> Option<Self> {
        let (mut nodes, mut at) = (Vec::new(), last);
        loop {
            let position = graph.producer_position(at)?;
            if graph.is_result(at) || !graph.has_one_use(at) || nodes.len() > LONGEST {
                return None;
            }
            if transposed(graph, at).is_some() {
                nodes.reverse();
                return Some(Self { graph, nodes, first: at });
            }
            at = rows_operand(graph, graph.node(position))?;
            nodes.push(position);
        }
    }

    /// Do all operators keep these leading axes, or join them in one axis and split it again?
    fn keep_rows(&self, count: usize) -> Option<bool> {
        let rows = dims_of(self.graph, self.first)?.get(..count)?;
        let joined = rows.iter().fold(Dim::constant(1), |all, dim| all.mul(dim));
        let mut is_joined = false;
        for position in &self.nodes {
            let node = self.graph.node(*position);
            let dims = dims_of(self.graph, *node.outputs.first()?)?;
            if !is_reshape(&node.op) {
                // Its last axis is no row.
                let rows = if is_joined { 1 } else { count };
                if dims.len() <= rows {
                    return Some(false);
                }
                continue;
            }
            if dims.get(..count).is_some_and(|own| same_dims(own, rows)) {
                is_joined = false;
            } else if dims.first().is_some_and(|own| own.equals(&joined) == Truth::Yes) {
                is_joined = true;
            } else {
                return Some(false);
            }
        }
        Some(!is_joined)
    }

    /// The operators on a value whose leading axes are `rows`, in place of those that the first transpose makes.
    fn on(&self, patch: &mut Patch<'_>, x: ValueId, rows: &[Dim]) -> Result<Option<ValueId>, Miss> {
        let count = rows.len();
        let Some(old) = dims_of(self.graph, self.first).and_then(|dims| dims.get(..count)) else { return Ok(None) };
        let mut x = x;
        for position in &self.nodes {
            let node = self.graph.node(*position);
            let (Some(operand), Some(dims)) =
                (rows_operand(self.graph, node), node.outputs.first().and_then(|id| dims_of(self.graph, *id)))
            else {
                return Ok(None);
            };
            if is_reshape(&node.op) {
                let is_split = dims.get(..count).is_some_and(|own| same_dims(own, old));
                let to: Vec<Dim> = rows.iter().chain(&dims[if is_split { count } else { 1 }..]).cloned().collect();
                x = reshaped(patch, x, &to)?;
                continue;
            }
            let inputs: Vec<Option<ValueId>> =
                node.inputs.iter().map(|input| if *input == Some(operand) { Some(x) } else { *input }).collect();
            match patch.add(node.op.clone(), &inputs)?.first() {
                Some(made) => x = *made,
                None => return Ok(None),
            }
        }
        Ok(Some(x))
    }
}

/// The axes of a permutation, and others behind them that stay.
fn extended(permutation: &[usize], rank: usize) -> Vec<usize> {
    permutation.iter().copied().chain(permutation.len()..rank).collect()
}

/// Removes this transpose, or the one above it.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let &[result] = node.outputs.as_slice() else { return Ok(false) };
    let Some((last, below)) = transposed(graph, result) else { return Ok(false) };
    let Some(between) = Between::above(graph, last).filter(|between| !between.nodes.is_empty()) else {
        return Ok(false);
    };
    let Some((x, above)) = transposed(graph, between.first) else { return Ok(false) };
    patch.set_origins(between.nodes.iter().copied().chain(graph.producer_position(between.first)).chain([position]));
    let Some(from) = dims_of(graph, x) else { return Ok(false) };
    let rows = rows_of(above);
    if rows > 0
        && between.keep_rows(rows) == Some(true)
        && let Some(made) = between.on(patch, x, &from[..rows])?
    {
        let all = extended(&above[..rows], below.len());
        let both: Vec<usize> = below.iter().map(|axis| all[*axis]).collect();
        let made = match both.iter().copied().eq(0..both.len()) {
            true => made,
            false => patch.add_one(Transpose { permutation: Some(both) }, &[made])?,
        };
        patch.replace(result, made);
        return Ok(true);
    }
    let rows = rows_of(below);
    if rows > 0 && between.keep_rows(rows) == Some(true) {
        let both: Vec<usize> = extended(&below[..rows], above.len()).iter().map(|axis| above[*axis]).collect();
        let sizes: Vec<Dim> = both.iter().take(rows).map(|axis| from[*axis].clone()).collect();
        let first = match both.iter().copied().eq(0..both.len()) {
            true => x,
            false => patch.add_one(Transpose { permutation: Some(both) }, &[x])?,
        };
        if let Some(made) = between.on(patch, first, &sizes)? {
            patch.replace(result, made);
            return Ok(true);
        }
    }
    Ok(false)
}
