//! Proposed groups of nodes: heavy operators with the pointwise work behind them.

use sinter_ops::{Op, ValueId};

use crate::cover::Problem;

/// Nodes that could be one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The operator that the region is about.
    pub(crate) node: usize,
    /// The pointwise operator behind it.
    pub(crate) tail: Option<usize>,
}

impl Group {
    /// Where it stands in the order of execution.
    pub(crate) fn position(&self) -> usize {
        self.tail.unwrap_or(self.node)
    }
}

/// Every living node in exactly one group, in execution order.
pub(crate) fn propose(problem: &Problem<'_>) -> Vec<Group> {
    let body = problem.body;
    let living = living_nodes(problem);
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); body.value_count()];
    for (position, node) in body.nodes().iter().enumerate().filter(|(p, _)| living[*p]) {
        for id in node.inputs.iter().flatten() {
            readers[id.index()].push(position);
        }
    }
    let mut tail_of = vec![None; body.nodes().len()];
    let mut is_tail = vec![false; body.nodes().len()];
    // Backwards, so that of two products that meet in one pointwise operator the later one takes it.
    for (position, node) in body.nodes().iter().enumerate().rev().filter(|(p, _)| living[*p]) {
        if !matches!(node.op, Op::Convolution(_) | Op::MatMul(_)) {
            continue;
        }
        let [product] = node.outputs[..] else { continue };
        if let [reader] = readers[product.index()][..]
            && !is_tail[reader]
            && !body.outputs().contains(&product)
            && fits_behind(problem, product, reader)
        {
            (tail_of[position], is_tail[reader]) = (Some(reader), true);
        }
    }
    let mut groups: Vec<Group> = (0..body.nodes().len())
        .filter(|&position| living[position] && !is_tail[position])
        .map(|node| Group { node, tail: tail_of[node] })
        .collect();
    groups.sort_by_key(Group::position);
    groups
}

/// Can the pointwise operator be done on the product as it is made: no operand makes the result larger?
fn fits_behind(problem: &Problem<'_>, product: ValueId, reader: usize) -> bool {
    let node = &problem.body.nodes()[reader];
    if !matches!(node.op, Op::Pointwise(_)) || node.outputs.len() != 1 {
        return false;
    }
    let dims = |id: ValueId| problem.body.ty(id).as_tensor().and_then(|t| t.dims().ok());
    matches!((dims(product), dims(node.outputs[0])), (Some(a), Some(b)) if a == b)
}

/// Nodes whose results are used, directly or not, by a result of the body, or which must run anyway.
fn living_nodes(problem: &Problem<'_>) -> Vec<bool> {
    let body = problem.body;
    let mut used = vec![false; body.value_count()];
    for id in body.outputs() {
        used[id.index()] = true;
    }
    let mut living = vec![false; body.nodes().len()];
    for (position, node) in body.nodes().iter().enumerate().rev() {
        if node.op.effects().asserts || node.outputs.iter().any(|id| used[id.index()]) {
            living[position] = true;
            for id in node.inputs.iter().flatten() {
                used[id.index()] = true;
            }
        }
    }
    living
}
