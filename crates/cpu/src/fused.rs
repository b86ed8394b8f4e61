//! Regions around one heavy operator: `[Transpose] heavy [Transpose] [Pointwise]`.
//!
//! The transposes, when there, move the channels of operand 0 and of the result behind the spatial axes: the region
//! computes in channels-last layout. The pointwise operator is the epilogue; it stands behind the transpose, so its
//! operands are in the layout of the result.

use sinter_backend::{Refusal, Region};
use sinter_base::{Dim, TensorType};
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::Program;
use sinter_ops::{Node, Op, ValueId};
use smallvec::SmallVec;

/// See the module documentation.
pub struct Fused<'a> {
    region: &'a Region,
    /// The heavy operator.
    pub node: &'a Node,
    /// Channels behind the spatial axes in operand 0 and in the result.
    pub channels_last: bool,
    /// The pointwise operator at the end.
    pub tail: Option<Tail<'a>>,
    /// What the pointwise operator works on, or the region's result.
    product: ValueId,
}

/// A pointwise end.
pub struct Tail<'a> {
    /// The program.
    pub program: &'a Program,
    /// Which of its operands is the product.
    pub product: usize,
    /// Its operands.
    pub inputs: SmallVec<[ValueId; 4]>,
}

fn is_transpose(node: &Node, of_rank: impl Fn(usize) -> Transpose) -> bool {
    match &node.op {
        Op::Transpose(op) => op.permutation.as_ref().is_some_and(|p| p.len() >= 3 && *op == of_rank(p.len())),
        _ => false,
    }
}

impl<'a> Fused<'a> {
    /// Takes a region apart.
    ///
    /// # Errors
    /// When it has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let body = region.body();
        let other = || Refusal::new("takes one operator with transposes and one pointwise operator around it");
        let mut nodes = body.nodes();
        let before = nodes.first().filter(|node| nodes.len() > 1 && is_transpose(node, Transpose::to_channels_first));
        if before.is_some() {
            nodes = &nodes[1..];
        }
        let (node, mut nodes) = nodes.split_first().ok_or_else(other)?;
        let mut product = *node.outputs.first().ok_or_else(other)?;
        if node.outputs.len() != 1 {
            return Err(other());
        }
        if let Some(before) = before
            && node.inputs.first() != Some(&before.outputs.first().copied())
        {
            return Err(other());
        }
        let after = nodes.first().filter(|node| is_transpose(node, Transpose::to_channels_last));
        if let Some(after) = after {
            if after.inputs[..] != [Some(product)] {
                return Err(other());
            }
            product = after.outputs[0];
            nodes = &nodes[1..];
        }
        if before.is_some() != after.is_some() {
            return Err(other());
        }
        let tail = match nodes {
            [] => None,
            [Node { op: Op::Pointwise(op), inputs, outputs }] if outputs[..] == *body.outputs() => {
                let inputs: SmallVec<[ValueId; 4]> = inputs.iter().flatten().copied().collect();
                let at = inputs.iter().position(|id| *id == product).ok_or_else(other)?;
                if inputs.iter().filter(|id| **id == product).count() != 1 {
                    return Err(other());
                }
                Some(Tail { program: &op.program, product: at, inputs })
            }
            _ => return Err(other()),
        };
        if tail.is_none() && body.outputs() != [product] {
            return Err(other());
        }
        Ok(Self { region, node, channels_last: before.is_some(), tail, product })
    }

    /// Number of the region's operand that feeds this input of the heavy operator.
    pub fn operand(&self, input: usize) -> Option<usize> {
        let id = self.node.inputs.get(input).copied().flatten()?;
        if input == 0 && self.channels_last {
            let before = self.region.body().nodes().first()?;
            return self.region.operand(before.inputs.first().copied().flatten()?);
        }
        self.region.operand(id)
    }

    /// Type of an input of the heavy operator, in the operator's own layout.
    pub fn input(&self, input: usize) -> Option<&TensorType> {
        let id = self.node.inputs.get(input).copied().flatten()?;
        self.region.body().ty(id).as_tensor()
    }

    /// Dimensions of the product in the layout of the result.
    pub fn product_dims(&self) -> &[Dim] {
        self.region.body().ty(self.product).as_tensor().and_then(|t| t.dims().ok()).unwrap_or_default()
    }

    /// The epilogue, for kernels that produce rows along the last axis; `bias` is the heavy operator's own.
    ///
    /// # Errors
    /// When the pointwise operator does not fit.
    pub fn epilogue(&self, bias: Option<usize>) -> Result<crate::product::epilogue::Plan, Refusal> {
        use crate::product::epilogue::Plan;
        let Some(tail) = &self.tail else { return Ok(Plan::bias(bias)) };
        let body = self.region.body();
        let mut operands = Vec::new();
        let mut dims: Vec<&[Dim]> = Vec::new();
        for (index, id) in tail.inputs.iter().enumerate() {
            let ty = body.ty(*id).as_tensor().and_then(|t| t.dims().ok());
            dims.push(ty.ok_or_else(|| Refusal::new("an operand of unknown rank"))?);
            operands.push(if index == tail.product {
                usize::MAX
            } else {
                self.region.operand(*id).ok_or_else(|| Refusal::new("an operand made inside the region"))?
            });
        }
        Plan::new(tail.program, tail.product, &operands, &dims, self.product_dims())?.with_bias(bias)
    }
}
