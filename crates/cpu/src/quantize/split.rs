//! Splits a region around one operator: the chains that dequantize its operands, the operator, and the chain on its
//! result.
//!
//! `[chain]... operator [chain]`, where the operator may have the transpositions of its layout around it and a
//! pointwise epilogue, which its kernel computes.

use std::collections::HashMap;

use sinter_backend::{Refusal, Region};
use sinter_base::DataType;
use sinter_ops::{Body, Node, Op, OpKind, ValueId};

use crate::quantize::chain::{Chain, is_link};

/// Most operands of the operator: their list lies on the stack.
pub(super) const MOST_OPERANDS: usize = 16;

/// The source of an operand of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// An operand of the region.
    Operand(usize),
    /// The result of a chain in front.
    Made(usize),
}

/// The source of an operand of the chain after the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// An operand of the region.
    Operand(usize),
    /// The operator's result.
    Product,
}

/// See the module documentation.
pub(super) struct Split {
    /// The operator, with its layout transpositions and epilogue.
    pub(super) inner: Region,
    /// By operand of the inner region.
    pub(super) operands: Vec<Option<From>>,
    /// Chains before the operator, each with the region's operands of its sources.
    pub(super) before: Vec<(Chain, Vec<usize>)>,
    /// The chain after the operator, with the sources of its operands.
    pub(super) behind: Option<(Chain, Vec<Read>)>,
}

fn other() -> Refusal {
    Refusal::new("takes one operator with quantizations and dequantizations around it")
}

fn maker(body: &Body, id: ValueId) -> Option<usize> {
    body.nodes().iter().position(|node| node.outputs.contains(&id))
}

/// The only reader of a value.
fn reader(body: &Body, id: ValueId) -> Option<usize> {
    let reads = |node: &Node| node.inputs.iter().filter(|input| **input == Some(id)).count();
    let mut readers = body.nodes().iter().enumerate().filter(|(_, node)| reads(node) > 0);
    match (readers.next(), readers.next()) {
        (Some((position, node)), None) if reads(node) == 1 && !body.outputs().contains(&id) => Some(position),
        _ => None,
    }
}

/// Does the region quantize or dequantize values around an operator that is not elementwise?
pub(super) fn is_quantized(region: &Region) -> bool {
    let nodes = region.body().nodes();
    nodes.iter().any(|node| matches!(node.op, Op::Quantize(_) | Op::Dequantize(_)))
        && nodes.iter().any(|node| !is_link(&node.op))
}

impl Split {
    /// Splits a region; the inner kernel computes the pointwise epilogue if `with_program`.
    ///
    /// # Errors
    /// When the region has another form.
    pub(super) fn of(region: &Region, with_program: bool) -> Result<Self, Refusal> {
        let body = region.body();
        let root = region.root().ok_or_else(other)?;
        let heavy = body.nodes().iter().position(|node| node.op.kind() == root).ok_or_else(other)?;
        let core = core_of(body, heavy, with_program);
        let [product] = body.nodes()[*core.last().ok_or_else(other)?].outputs[..] else { return Err(other()) };
        let [output] = body.outputs() else { return Err(Refusal::new("takes regions of one result")) };
        let mut ahead =
            ancestors(body, core.iter().flat_map(|&node| body.nodes()[node].inputs.iter().flatten().copied()));
        ahead.retain(|node| !core.contains(node));
        let rest: Vec<usize> =
            (0..body.nodes().len()).filter(|node| !core.contains(node) && !ahead.contains(node)).collect();
        let is_chain = |nodes: &[usize]| nodes.iter().all(|&node| is_link(&body.nodes()[node].op));
        if !is_chain(&ahead) || !is_chain(&rest) || rest.is_empty() != (product == *output) {
            return Err(other());
        }
        let operand = |id: ValueId| region.operand(id).ok_or_else(other);
        let mut before = Vec::new();
        let mut made: HashMap<ValueId, usize> = HashMap::new();
        let (inner, outer) = inner_region(region, &core);
        if outer.len() > MOST_OPERANDS {
            return Err(Refusal::new(format!("more than {MOST_OPERANDS} operands")));
        }
        let mut operands = Vec::new();
        for id in outer {
            operands.push(match id {
                None => None,
                Some(id) if maker(body, id).is_none() => Some(From::Operand(operand(id)?)),
                Some(id) => {
                    if let Some(known) = made.get(&id) {
                        operands.push(Some(From::Made(*known)));
                        continue;
                    }
                    let nodes: Vec<&Node> = ancestors(body, [id]).into_iter().map(|node| &body.nodes()[node]).collect();
                    let chain = Chain::of(region, &nodes)?;
                    if chain.data_type != DataType::F32 {
                        return Err(Refusal::new("an operand of the operator stays quantized"));
                    }
                    let sources = chain.sources.iter().map(|source| operand(source.value)).collect::<Result<_, _>>()?;
                    made.insert(id, before.len());
                    before.push((chain, sources));
                    Some(From::Made(before.len() - 1))
                }
            });
        }
        let behind = match rest.is_empty() {
            true => None,
            false => Some(chain_behind(region, &rest, product)?),
        };
        Ok(Self { inner, operands, before, behind })
    }
}

/// The chain of the nodes behind the product.
fn chain_behind(region: &Region, rest: &[usize], product: ValueId) -> Result<(Chain, Vec<Read>), Refusal> {
    let body = region.body();
    let nodes: Vec<&Node> = rest.iter().map(|&node| &body.nodes()[node]).collect();
    let last = nodes.last().and_then(|node| node.outputs.first());
    if last != body.outputs().first() {
        return Err(other());
    }
    let chain = Chain::of(region, &nodes)?;
    let dims = |id: ValueId| body.ty(id).as_tensor().and_then(|ty| ty.dims().ok());
    if body.ty(product).data_type() != DataType::F32 {
        return Err(Refusal::new("the operator's result is not f32"));
    }
    if dims(product).is_none() || last.is_none_or(|last| dims(*last) != dims(product)) {
        return Err(Refusal::new("the result has other sizes than the operator's"));
    }
    let read = |id: ValueId| match id == product {
        true => Ok(Read::Product),
        false => region.operand(id).map(Read::Operand).ok_or_else(other),
    };
    let reads = chain.sources.iter().map(|source| read(source.value)).collect::<Result<_, _>>()?;
    Ok((chain, reads))
}

/// The operator, the transpositions of its layout, and its epilogue.
fn core_of(body: &Body, heavy: usize, with_program: bool) -> Vec<usize> {
    let nodes = body.nodes();
    let is_transpose = |node: &usize| nodes[*node].op.kind() == OpKind::Transpose;
    let mut core: Vec<usize> = nodes[heavy].inputs.iter().flatten().filter_map(|id| maker(body, *id)).collect();
    core.retain(is_transpose);
    core.dedup();
    core.push(heavy);
    let follower = |node: usize| match nodes[node].outputs[..] {
        [result] => reader(body, result),
        _ => None,
    };
    let mut last = heavy;
    if let Some(next) = follower(last).filter(is_transpose) {
        core.push(next);
        last = next;
    }
    let is_program = |node: &usize| nodes[*node].op.kind() == OpKind::Pointwise;
    if let Some(next) = follower(last).filter(is_program).filter(|_| with_program) {
        core.push(next);
    }
    core
}

/// Nodes that these values depend on, in order.
fn ancestors(body: &Body, values: impl IntoIterator<Item = ValueId>) -> Vec<usize> {
    let mut found = vec![false; body.nodes().len()];
    let mut open: Vec<usize> = values.into_iter().filter_map(|id| maker(body, id)).collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut found[node], true) {
            open.extend(body.nodes()[node].inputs.iter().flatten().filter_map(|id| maker(body, *id)));
        }
    }
    (0..found.len()).filter(|&node| found[node]).collect()
}

/// The region of some nodes, and the outer value of each of its operands.
fn inner_region(region: &Region, core: &[usize]) -> (Region, Vec<Option<ValueId>>) {
    let outer = region.body();
    let mut body = Body::new();
    let mut ids: HashMap<ValueId, ValueId> = HashMap::new();
    let mut operands: Vec<Option<ValueId>> = Vec::new();
    for &node in core {
        let node = &outer.nodes()[node];
        let mut inputs = Vec::new();
        for input in &node.inputs {
            let known = input.and_then(|id| ids.get(&id).copied());
            inputs.push(match (*input, known) {
                // The operands of a single operator are numbered by its inputs.
                (None, _) => {
                    if core.len() == 1 {
                        operands.push(None);
                    }
                    None
                }
                (Some(_), Some(known)) if core.len() > 1 => Some(known),
                (Some(id), _) => {
                    operands.push(Some(id));
                    let own = body.add_input(outer.ty(id).clone());
                    ids.insert(id, own);
                    Some(own)
                }
            });
        }
        let types = node.outputs.iter().map(|id| outer.ty(*id).clone()).collect();
        let made = body.add_typed(node.op.clone(), &inputs, types);
        ids.extend(node.outputs.iter().copied().zip(made));
    }
    let last = core.last().and_then(|&node| outer.nodes()[node].outputs.first()).and_then(|id| ids.get(id).copied());
    body.set_outputs(last.into_iter().collect());
    let is_constant =
        |id: &Option<ValueId>| id.and_then(|id| region.operand(id)).is_some_and(|at| region.is_constant(at));
    let constants = operands.iter().enumerate().filter(|(_, id)| is_constant(id)).map(|(at, _)| at).collect();
    (Region::new(body).with_constants(constants), operands)
}
