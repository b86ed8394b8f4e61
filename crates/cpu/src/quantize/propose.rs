//! Proposes regions with quantizations: an operator with the dequantizations of its operands and the quantization of
//! its result, as [`crate::quantize::split`] matches them, and chains of elementwise operators.
//!
//! Where a kernel rounds a result to a quantized value, the last bit of a number may decide. So a region quantizes a
//! value in its middle only where all earlier operations are exact: sums and bounds of dequantized values, never a
//! product.

use sinter_backend::{GraphView, Proposals, Proposer};
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Program, ScalarOp};
use sinter_ops::{Op, ValueId};

use crate::fused::propose::epilogue_of;
use crate::quantize::chain::is_link;

/// Most nodes of a chain.
const MOST_NODES: usize = 16;

/// An operator between quantizations.
pub struct Around;

/// Proposes chains of elementwise operators.
pub struct Chains;

fn is_quantization(op: &Op) -> bool {
    matches!(op, Op::Quantize(_) | Op::Dequantize(_))
}

fn any_quantized(graph: &GraphView<'_>, nodes: &[usize]) -> bool {
    nodes.len() > 1 && nodes.iter().any(|&node| is_quantization(&graph.node(node).op))
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

/// Dequantizations that compute operands of a node and have no other reader.
fn dequantizations(graph: &GraphView<'_>, position: usize, of: impl Fn(ValueId) -> bool) -> Vec<usize> {
    let mut found = Vec::new();
    for &id in graph.node(position).inputs.iter().flatten().filter(|id| of(**id)) {
        let Some(maker) = graph.maker(id) else { continue };
        let is_its_own = !graph.is_read_outside(id, &[position]);
        if is_its_own && matches!(graph.node(maker).op, Op::Dequantize(_)) && !found.contains(&maker) {
            found.push(maker);
        }
    }
    found
}

/// The quantization that is the only reader of the result of a node.
fn quantization(graph: &GraphView<'_>, position: usize) -> Option<usize> {
    let [result] = graph.node(position).outputs[..] else { return None };
    graph.only_reader(result).filter(|reader| matches!(graph.node(*reader).op, Op::Quantize(_)))
}

impl Proposer for Around {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        if is_link(&node.op) || node.outputs.len() != 1 || !node.op.bodies().is_empty() {
            return;
        }
        let before = dequantizations(graph, seed, |_| true);
        let mut behind: Vec<Vec<usize>> = vec![vec![seed]];
        behind.extend(quantization(graph, seed).map(|last| vec![seed, last]));
        if let Some(program) = epilogue_of(graph, seed) {
            let result = graph.node(program).outputs[0];
            let others = dequantizations(graph, program, |id| graph.have_equal_dims(id, result));
            let with: Vec<usize> = [seed, program].into_iter().chain(others).collect();
            let quantized = quantization(graph, program).map(|last| with.iter().copied().chain([last]).collect());
            behind.push(with);
            behind.extend(quantized);
        }
        for nodes in behind {
            let all: Vec<usize> = nodes.iter().chain(&before).copied().collect();
            for nodes in [Some(nodes), Some(all).filter(|_| !before.is_empty())].into_iter().flatten() {
                if any_quantized(graph, &nodes) {
                    proposals.push(nodes);
                }
            }
        }
    }
}

impl Proposer for Chains {
    /// Elementwise operators that end with the seed, with and without quantizations in the middle.
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        if !is_link(&node.op) || node.outputs.len() != 1 {
            return;
        }
        let (without, with) = (chain(graph, seed, false), chain(graph, seed, true));
        if with != without && any_quantized(graph, &with) && is_exact_inside(graph, seed, &with) {
            proposals.push(with);
        }
        if any_quantized(graph, &without) {
            proposals.push(without);
        }
    }
}

fn chain(graph: &GraphView<'_>, sink: usize, across: bool) -> Vec<usize> {
    let result = graph.node(sink).outputs[0];
    let mut nodes = vec![sink];
    let mut at = 0;
    while let Some(&node) = nodes.get(at) {
        at += 1;
        for &id in graph.node(node).inputs.iter().flatten() {
            let Some(maker) = graph.maker(id).filter(|maker| !nodes.contains(maker)) else { continue };
            let own = graph.node(maker);
            let may_be_inside = is_link(&own.op)
                && own.outputs.len() == 1
                && (across || !matches!(own.op, Op::Quantize(_)))
                && graph.have_equal_dims(id, result)
                && !graph.is_read_outside(id, &nodes);
            if may_be_inside && nodes.len() < MOST_NODES {
                nodes.push(maker);
            }
        }
    }
    nodes
}

/// Are all operations before quantizations in the middle exact?
fn is_exact_inside(graph: &GraphView<'_>, sink: usize, nodes: &[usize]) -> bool {
    let is_last = |position: usize| position == sink || quantization(graph, position) == Some(sink);
    nodes.iter().all(|&position| match &graph.node(position).op {
        Op::Pointwise(op) => is_last(position) || is_rounded_exactly(&op.program),
        _ => true,
    })
}
