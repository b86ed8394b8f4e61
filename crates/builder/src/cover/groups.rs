//! Proposed groups of nodes: heavy operators with the pointwise work around them, and heavy operators of one operand.

use sinter_ops::{Op, ValueId};

use crate::cover::uses::Uses;
use crate::cover::{Problem, quantized};

/// Most nodes of a group.
pub(crate) const MOST_NODES: usize = 16;
/// Nodes that may stand between the first and the last of operators that read the same: what is computed early has to be
/// kept for long.
const NEAR: usize = 64;

/// Nodes that could be one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Positions in the body, in order.
    pub(crate) nodes: Vec<usize>,
}

impl Group {
    /// A node by itself.
    pub(crate) fn single(node: usize) -> Self {
        Self { nodes: vec![node] }
    }

    pub(crate) fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        let mut nodes: Vec<usize> = nodes.into_iter().collect();
        nodes.sort_unstable();
        Self { nodes }
    }

    /// The node that the region is reported under when it has no kernel.
    pub(crate) fn node(&self) -> usize {
        self.nodes[0]
    }

    /// Values that it makes for others.
    pub(crate) fn results(&self, problem: &Problem<'_>, uses: &Uses) -> Vec<ValueId> {
        let nodes = problem.body.nodes();
        if let [node] = self.nodes[..] {
            return uses.read_outputs(&nodes[node]).to_vec();
        }
        let made = self.nodes.iter().flat_map(|&node| nodes[node].outputs.iter().copied());
        made.filter(|id| uses.is_read_outside(*id, &self.nodes)).collect()
    }
}

/// All groups of several nodes that may be worth a region of their own; they overlap.
pub(crate) fn propose(problem: &Problem<'_>, uses: &Uses) -> Vec<Group> {
    let mut groups = Vec::new();
    if !problem.may_join {
        return groups;
    }
    // By the value that they read.
    let mut arms: Vec<Vec<usize>> = vec![Vec::new(); problem.body.value_count()];
    for node in uses.living() {
        if !is_heavy(problem, node) {
            continue;
        }
        let read = shared_operand(problem, node);
        let head = read.and_then(|read| head_of(problem, uses, read, &[node]));
        let tail = tail_of(problem, uses, node);
        let parts = |head: Option<usize>, tail: Option<usize>| Group::of([node].into_iter().chain(head).chain(tail));
        if tail.is_some() {
            groups.push(parts(None, tail));
        }
        if head.is_some() {
            groups.push(parts(head, None));
        }
        if head.is_some() && tail.is_some() {
            groups.push(parts(head, tail));
        }
        if let Some(read) = read {
            arms[read.index()].push(node);
        }
    }
    for (read, arms) in arms.iter().enumerate().filter(|(_, arms)| arms.len() > 1) {
        merge(problem, uses, ValueId::new(read), arms, &mut groups);
    }
    groups.extend(quantized::propose(problem, uses));
    groups
}

/// Neighbours among the operators that read a value, each with its own tail.
fn merge(problem: &Problem<'_>, uses: &Uses, read: ValueId, arms: &[usize], groups: &mut Vec<Group>) {
    let mut left = arms;
    while let Some((&first, _)) = left.split_first() {
        let mut nodes: Vec<usize> = Vec::new();
        let mut taken = 0;
        for &arm in left.iter().take_while(|&&arm| arm - first <= NEAR) {
            let tail = tail_of(problem, uses, arm).filter(|tail| {
                // What another arm makes is no operand of a tail, and a tail belongs to one arm.
                let inputs = problem.body.nodes()[*tail].inputs.iter().flatten();
                let mut inputs = inputs.filter(|id| uses.maker(**id) != Some(arm));
                inputs.all(|id| uses.maker(*id).is_none_or(|maker| !left.contains(&maker)))
            });
            if nodes.len() + 1 + usize::from(tail.is_some()) >= MOST_NODES {
                break;
            }
            nodes.push(arm);
            nodes.extend(tail);
            taken += 1;
        }
        if taken > 1 {
            let group = Group::of(nodes.iter().copied());
            let readers = uses.readers(read);
            let head = head_of(problem, uses, read, readers).filter(|_| readers == &left[..taken]);
            for group in [head.map(|head| Group::of(nodes.into_iter().chain([head]))), Some(group)] {
                groups.extend(group.filter(|group| uses.is_convex(problem, &group.nodes)));
            }
        }
        left = &left[taken.max(1)..];
    }
}

/// Operators that are worth doing something on the way.
fn is_heavy(problem: &Problem<'_>, node: usize) -> bool {
    let node = &problem.body.nodes()[node];
    matches!(node.op, Op::Convolution(_) | Op::MatMul(_) | Op::Normalize(_)) && node.outputs.len() == 1
}

/// The first operand of a product with a weight.
fn shared_operand(problem: &Problem<'_>, node: usize) -> Option<ValueId> {
    let node = &problem.body.nodes()[node];
    let is_product = match &node.op {
        Op::Convolution(op) => op.groups == 1,
        Op::MatMul(op) => !op.transpose_a,
        _ => false,
    };
    let [Some(read), Some(weight), ..] = node.inputs[..] else { return None };
    let is_weight = |id| problem.weight(id).is_some();
    (is_product && is_weight(weight) && !is_weight(read)).then_some(read)
}

/// The pointwise operator that makes a value for these readers alone.
fn head_of(problem: &Problem<'_>, uses: &Uses, read: ValueId, readers: &[usize]) -> Option<usize> {
    let head = uses.maker(read)?;
    let node = &problem.body.nodes()[head];
    let fits = matches!(node.op, Op::Pointwise(_)) && node.outputs.len() == 1;
    (fits && uses.readers(read) == readers && !uses.is_read_outside(read, readers)).then_some(head)
}

/// The pointwise operator that can be done on the result of a heavy one as it is made.
pub(crate) fn tail_of(problem: &Problem<'_>, uses: &Uses, heavy: usize) -> Option<usize> {
    let [product] = problem.body.nodes()[heavy].outputs[..] else { return None };
    let [reader] = uses.readers(product)[..] else { return None };
    (!uses.is_read_outside(product, &[reader]) && fits_behind(problem, product, reader)).then_some(reader)
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
