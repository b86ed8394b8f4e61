//! Regions of a normalization in front of heavy operators that read its result:
//! `Normalize [Pointwise] (heavy [Pointwise])...`.

use sinter_backend::{Refusal, Region};
use sinter_base::DataType;
use sinter_ops::{Node, Op, ValueId};
use smallvec::SmallVec;

use crate::fused::{Fused, OnRows, dims, maker};
use crate::product::epilogue::Plan;

/// See the module documentation.
pub struct NormalizedGroup<'a> {
    region: &'a Region,
    /// The normalization.
    pub normalize: &'a Node,
    /// The pointwise operator on the normalized value.
    between: Option<OnRows<'a>>,
    /// The value that it works on.
    normalized: ValueId,
    /// The heavy operators, in the order of the results.
    pub branches: SmallVec<[Fused<'a>; 4]>,
}

fn other() -> Refusal {
    Refusal::new("takes a normalization in front of operators that read its result")
}

impl<'a> NormalizedGroup<'a> {
    /// Matches a region.
    ///
    /// # Errors
    /// When the region has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let body = region.body();
        let mut branches = SmallVec::<[Fused<'a>; 4]>::new();
        for result in body.outputs() {
            branches.push(Fused::ending_at(region, *result)?);
        }
        let source = branches.first().and_then(|branch| branch.source).ok_or_else(other)?;
        if branches.iter().any(|branch| branch.source != Some(source)) {
            return Err(other());
        }
        let mut node = maker(body, source).ok_or_else(other)?;
        let (mut between, mut normalized) = (None, source);
        if let Op::Pointwise(op) = &node.op {
            let inputs: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
            let mut made = (0..inputs.len()).filter(|&at| maker(body, inputs[at]).is_some());
            let (Some(rows), None) = (made.next(), made.next()) else { return Err(other()) };
            normalized = inputs[rows];
            // The kernel computes the operand of the products where the normalized rows lie.
            if node.outputs.len() != 1 || dims(body, normalized) != dims(body, source) {
                return Err(other());
            }
            between = Some(OnRows { program: &op.program, rows, inputs });
            node = maker(body, normalized).ok_or_else(other)?;
        }
        let nodes: usize = branches.iter().map(Fused::nodes).sum::<usize>() + 1 + usize::from(between.is_some());
        let is_f32 = body.ty(source).data_type() == DataType::F32;
        if !matches!(node.op, Op::Normalize(_)) || node.outputs.len() != 1 || nodes != body.nodes().len() || !is_f32 {
            return Err(other());
        }
        Ok(Self { region, normalize: node, between, normalized, branches })
    }

    /// Number of nodes in front of the heavy operators, which come first.
    pub fn nodes(&self) -> usize {
        1 + usize::from(self.between.is_some())
    }

    /// The region's operand that is normalized.
    pub fn operand(&self) -> Option<usize> {
        self.region.operand(self.normalize.inputs.first().copied().flatten()?)
    }

    /// The program on normalized rows, if there is one.
    ///
    /// # Errors
    /// When the pointwise operator does not fit.
    pub fn plan(&self) -> Result<Option<Plan>, Refusal> {
        let Some(between) = &self.between else { return Ok(None) };
        let result = dims(self.region.body(), self.normalized).unwrap_or_default();
        Plan::whole(&between.program(self.region, result)?).map(Some)
    }
}
