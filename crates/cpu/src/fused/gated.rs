//! Regions of two heavy operators that read the same operand and meet in a pointwise operator: `heavy, heavy, Pointwise`.

use sinter_backend::{Refusal, Region};
use sinter_ops::pointwise::Program;
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::fused::{Fused, dims, maker};
use crate::product::epilogue::{Plan, RowProgram};

/// See the module documentation.
pub struct Gated<'a> {
    region: &'a Region,
    /// The heavy operators. The program replaces the sums of the second one and reads those of the first beside them.
    pub products: [Fused<'a>; 2],
    program: &'a Program,
    /// Which operands of the program the products are, in their order.
    at: [usize; 2],
    inputs: SmallVec<[ValueId; 4]>,
}

fn other() -> Refusal {
    Refusal::new("takes two operators of the same operand that meet in a pointwise operator")
}

impl<'a> Gated<'a> {
    /// Matches a region.
    ///
    /// # Errors
    /// When the region has another form.
    pub fn of(region: &'a Region) -> Result<Self, Refusal> {
        let body = region.body();
        let ([result], 3) = (body.outputs(), body.nodes().len()) else { return Err(other()) };
        let node = maker(body, *result).ok_or_else(other)?;
        let Op::Pointwise(op) = &node.op else { return Err(other()) };
        let inputs: SmallVec<[ValueId; 4]> = node.inputs.iter().flatten().copied().collect();
        let made: SmallVec<[usize; 4]> = (0..inputs.len()).filter(|&at| maker(body, inputs[at]).is_some()).collect();
        let ([first, second], [_]) = (&made[..], &node.outputs[..]) else { return Err(other()) };
        let product = |at: usize| {
            let product = Fused::ending_at(region, inputs[at])?;
            let is_whole = dims(body, inputs[at]).is_some() && dims(body, inputs[at]) == dims(body, *result);
            let is_bare = product.nodes() == 1 && product.source.is_some_and(|source| maker(body, source).is_none());
            if is_whole && is_bare { Ok(product) } else { Err(other()) }
        };
        let products = [product(*first)?, product(*second)?];
        if inputs[*first] == inputs[*second] || products[0].source != products[1].source {
            return Err(other());
        }
        Ok(Self { region, products, program: &op.program, at: [*first, *second], inputs })
    }

    /// The program that replaces the sums of the second product.
    ///
    /// # Errors
    /// When the pointwise operator does not fit.
    pub fn plan(&self) -> Result<Plan, Refusal> {
        let body = self.region.body();
        let [beside, product] = self.at;
        let result = dims(body, self.inputs[product]).ok_or_else(other)?;
        let (mut operands, mut all) = (Vec::new(), Vec::new());
        for (index, id) in self.inputs.iter().enumerate() {
            all.push(dims(body, *id).ok_or_else(|| Refusal::new("an operand of unknown rank"))?);
            operands.push(if self.at.contains(&index) {
                usize::MAX
            } else {
                self.region.operand(*id).ok_or_else(|| Refusal::new("an operand made inside the region"))?
            });
        }
        let program = self.program;
        Plan::whole(&RowProgram { program, product, beside: Some(beside), operands, dims: all, result })
    }
}
