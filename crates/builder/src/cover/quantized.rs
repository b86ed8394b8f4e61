//! Proposed groups with quantizations: an operator with the dequantizations of its operands and the quantization of its
//! result, and what is elementwise between operators.
//!
//! Where a result is rounded to a quantized value, the last bit of a number may decide. So in the middle of a group a value is
//! quantized only where all in front is rounded exactly: sums and bounds of dequantized values, never a product.

use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Program, ScalarOp};
use sinter_ops::{Node, Op, ValueId};

use crate::cover::Problem;
use crate::cover::groups::{Group, MOST_NODES, tail_of};
use crate::cover::uses::Uses;

/// Groups of several nodes, of which one at least quantizes or dequantizes.
pub(crate) fn propose(problem: &Problem<'_>, uses: &Uses) -> Vec<Group> {
    let proposals = Proposals { problem, uses };
    let mut groups: Vec<Group> = Vec::new();
    for node in uses.living() {
        let found = if proposals.is_link(node) { proposals.chains(node) } else { proposals.around(node) };
        for group in found {
            let is_quantized = group.nodes.iter().any(|&node| is_quantization(&proposals.node(node).op));
            if is_quantized && (2..=MOST_NODES).contains(&group.nodes.len()) && !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups
}

fn is_quantization(op: &Op) -> bool {
    matches!(op, Op::Quantize(_) | Op::Dequantize(_))
}

/// Does every operation give the nearest number to its exact result, on every machine?
fn is_rounded_exactly(program: &Program) -> bool {
    let is_exact = |op: &ScalarOp| {
        matches!(
            op,
            ScalarOp::Add
                | ScalarOp::Sub
                | ScalarOp::Mul
                | ScalarOp::Div
                | ScalarOp::Max
                | ScalarOp::Min
                | ScalarOp::Neg
                | ScalarOp::Abs
        )
    };
    program.steps().iter().all(|step| match step {
        Step::Apply { op, .. } => is_exact(op),
        _ => true,
    })
}

struct Proposals<'a> {
    problem: &'a Problem<'a>,
    uses: &'a Uses,
}

impl Proposals<'_> {
    fn node(&self, position: usize) -> &Node {
        &self.problem.body.nodes()[position]
    }

    /// Is it done element by element?
    fn is_link(&self, position: usize) -> bool {
        let node = self.node(position);
        (is_quantization(&node.op) || matches!(node.op, Op::Pointwise(_))) && node.outputs.len() == 1
    }

    fn have_equal_sizes(&self, a: ValueId, b: ValueId) -> bool {
        let dims = |id: ValueId| self.problem.body.ty(id).as_tensor().and_then(|ty| ty.dims().ok());
        matches!((dims(a), dims(b)), (Some(a), Some(b)) if a == b)
    }

    /// Dequantizations that make operands of a node, for it alone.
    fn dequantizations(&self, position: usize, of: impl Fn(ValueId) -> bool) -> Vec<usize> {
        let mut found = Vec::new();
        for &id in self.node(position).inputs.iter().flatten().filter(|id| of(**id)) {
            let Some(maker) = self.uses.maker(id) else { continue };
            let is_its_own = !self.uses.is_read_outside(id, &[position]);
            if is_its_own && matches!(self.node(maker).op, Op::Dequantize(_)) && !found.contains(&maker) {
                found.push(maker);
            }
        }
        found
    }

    /// The quantization that alone reads the result of a node.
    fn quantization(&self, position: usize) -> Option<usize> {
        let [result] = self.node(position).outputs[..] else { return None };
        let [reader] = self.uses.readers(result)[..] else { return None };
        let is_only = !self.uses.is_read_outside(result, &[reader]);
        (is_only && matches!(self.node(reader).op, Op::Quantize(_))).then_some(reader)
    }

    /// An operator with what makes its operands real, the program behind it, and what quantizes the result.
    fn around(&self, position: usize) -> Vec<Group> {
        if self.node(position).outputs.len() != 1 || !self.node(position).op.bodies().is_empty() {
            return Vec::new();
        }
        let before = self.dequantizations(position, |_| true);
        let plain: Vec<usize> = [position].to_vec();
        let mut behind: Vec<Vec<usize>> = vec![plain.clone()];
        behind.extend(self.quantization(position).map(|quantization| vec![position, quantization]));
        if let Some(program) = tail_of(self.problem, self.uses, position) {
            let result = self.node(program).outputs[0];
            let others = self.dequantizations(program, |id| self.have_equal_sizes(id, result));
            let with: Vec<usize> = plain.iter().copied().chain([program]).chain(others).collect();
            let quantized = self.quantization(program).map(|last| with.iter().copied().chain([last]).collect());
            behind.push(with);
            behind.extend(quantized);
        }
        let mut groups = Vec::new();
        for nodes in behind {
            groups.push(Group::of(nodes.iter().copied()));
            if !before.is_empty() {
                groups.push(Group::of(nodes.into_iter().chain(before.iter().copied())));
            }
        }
        groups
    }

    /// All that ends with a node and is done element by element, with and without quantizations in the middle.
    fn chains(&self, sink: usize) -> Vec<Group> {
        let mut groups = vec![self.chain(sink, false)];
        let with = self.chain(sink, true);
        if with != groups[0] && self.is_exact_inside(sink, &with) {
            groups.push(with);
        }
        groups
    }

    fn chain(&self, sink: usize, across: bool) -> Group {
        let result = self.node(sink).outputs[0];
        let mut nodes = vec![sink];
        let mut at = 0;
        while let Some(&node) = nodes.get(at) {
            at += 1;
            for &id in self.node(node).inputs.iter().flatten() {
                let Some(maker) = self.uses.maker(id).filter(|maker| !nodes.contains(maker)) else { continue };
                let may_be_inside = self.is_link(maker)
                    && (across || !matches!(self.node(maker).op, Op::Quantize(_)))
                    && self.have_equal_sizes(id, result)
                    && !self.uses.is_read_outside(id, &nodes);
                if may_be_inside && nodes.len() < MOST_NODES {
                    nodes.push(maker);
                }
            }
        }
        Group::of(nodes)
    }

    /// Is all exact in front of quantizations in the middle?
    fn is_exact_inside(&self, sink: usize, group: &Group) -> bool {
        let is_last = |position: usize| position == sink || self.quantization(position) == Some(sink);
        group.nodes.iter().all(|&position| match &self.node(position).op {
            Op::Pointwise(op) => is_last(position) || is_rounded_exactly(&op.program),
            _ => true,
        })
    }
}
