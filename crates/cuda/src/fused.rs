//! Fused regions of a heavy operator and the pointwise operator behind it: the pattern, and its proposer.
//!
//! A region of an operator on images may compute with the channels behind the spatial axes:
//! `[Transpose] heavy [Transpose] [Pointwise]`. The transpositions move the channels of operand 0 and of the result; the
//! first one is missing where the kernel reads the image as the network stores it. The epilogue follows the second one, so
//! that its operands have the layout of the result.

use sinter_backend::{GraphView, Proposals, Proposer, Refusal, Region};
use sinter_base::{Dim, TensorType};
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::Pointwise;
use sinter_ops::{Node, Op, OpKind, ValueId};
use smallvec::SmallVec;

/// Proposes a heavy operator of one kind with the pointwise operator that alone reads its result.
pub struct WithEpilogue(pub OpKind);

impl Proposer for WithEpilogue {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        let [product] = node.outputs[..] else { return };
        if node.op.kind() != self.0 {
            return;
        }
        let Some(reader) = graph.only_reader(product) else { return };
        let behind = graph.node(reader);
        if let (Op::Pointwise(_), [result]) = (&behind.op, &behind.outputs[..])
            && graph.have_equal_dims(product, *result)
        {
            proposals.push([seed, reader]);
        }
    }
}

/// Where the channels of an image and of the result of an operator on it are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In front of the spatial axes.
    First,
    /// Behind the spatial axes.
    Last,
    /// In front of the spatial axes in the image, behind them in the result.
    Turned,
}

/// A region of a heavy operator, with or without an epilogue.
pub(crate) struct Fused<'a> {
    pub(crate) region: &'a Region,
    /// The heavy operator.
    pub(crate) node: &'a Node,
    /// The pointwise operator behind it.
    pub(crate) behind: Option<(&'a Pointwise, &'a Node)>,
    pub(crate) layout: Layout,
    /// Operand 0 in the layout of the region.
    source: Option<ValueId>,
    /// The heavy operator's result in the layout of the region.
    pub(crate) product: ValueId,
}

fn is_transposition(node: &Node, of_rank: fn(usize) -> Transpose) -> bool {
    match &node.op {
        Op::Transpose(op) => op.permutation.as_ref().is_some_and(|p| p.len() >= 3 && *op == of_rank(p.len())),
        _ => false,
    }
}

impl<'a> Fused<'a> {
    /// Matches a region.
    ///
    /// # Errors
    /// When it has another form.
    pub(crate) fn of(region: &'a Region) -> Result<Self, Refusal> {
        let other = || Refusal::new("takes one operator with at most one pointwise operator behind it");
        let nodes = region.body().nodes();
        let maker = |id: ValueId| nodes.iter().find(|node| node.outputs.contains(&id));
        let [result] = region.body().outputs()[..] else { return Err(other()) };
        let mut node = maker(result).ok_or_else(other)?;
        let (mut product, mut behind, mut count) = (result, None, 1);
        if let (Op::Pointwise(op), true) = (&node.op, nodes.len() > 1) {
            let made: SmallVec<[ValueId; 2]> =
                node.inputs.iter().flatten().copied().filter(|id| maker(*id).is_some()).collect();
            let [read] = made[..] else { return Err(other()) };
            if node.outputs.len() != 1 || dims(region, read) != dims(region, result) {
                return Err(other());
            }
            (product, behind, count) = (read, Some((op, node)), count + 1);
            node = maker(read).ok_or_else(other)?;
        }
        let is_last = nodes.len() > 1 && is_transposition(node, Transpose::to_channels_last);
        if is_last {
            count += 1;
            node = node.inputs[0].and_then(maker).ok_or_else(other)?;
        }
        let mut source = node.inputs.first().copied().flatten();
        let before = source.and_then(maker).filter(|node| is_transposition(node, Transpose::to_channels_first));
        if let Some(before) = before {
            count += 1;
            source = before.inputs[0];
        }
        let layout = match (before.is_some(), is_last) {
            (false, false) => Layout::First,
            (true, true) => Layout::Last,
            (false, true) => Layout::Turned,
            (true, false) => return Err(other()),
        };
        let is_made = |id: &Option<ValueId>| id.is_some_and(|id| maker(id).is_some());
        if count != nodes.len() || node.outputs.len() != 1 || node.inputs.iter().skip(1).any(is_made) {
            return Err(other());
        }
        Ok(Self { region, node, behind, layout, source, product })
    }

    /// Index of the region's operand that is this input of the heavy operator.
    pub(crate) fn operand(&self, input: usize) -> Option<usize> {
        let id = if input == 0 { self.source } else { self.node.inputs.get(input).copied().flatten() };
        self.region.operand(id?)
    }

    /// Type of an input of the heavy operator, in the operator's own layout.
    pub(crate) fn input(&self, input: usize) -> Option<&'a TensorType> {
        self.region.body().ty(self.node.inputs.get(input).copied().flatten()?).as_tensor()
    }

    /// Dimensions of the heavy operator's result in the layout of the region.
    pub(crate) fn result_dims(&self) -> &'a [Dim] {
        dims(self.region, self.product)
    }
}

/// The dimensions of a value; none where its rank is unknown.
pub(crate) fn dims(region: &Region, id: ValueId) -> &[Dim] {
    region.body().ty(id).as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default()
}
