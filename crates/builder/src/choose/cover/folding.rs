//! Folding of quantized weights when the plan is made.
//!
//! Constant folding never crosses a quantization, since quantized weights select other kernels. Once kernels are
//! chosen, the reason is gone. A dequantized weight is a weight expression then, so that no run dequantizes it, and
//! refit can replay it. Where a kernel reads the weight as stored, the region contains the dequantization, and the
//! cover takes the cheaper of both. The same holds for quantizations of weights, and for nodes that only move or
//! compute from such weights.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::ValueType;
use sinter_ir::WeightExpr;
use sinter_ops::{Body, Effects, Node, Op, ValueId};

/// Results of at most this many bytes may be larger than their operands.
const SMALL_BYTES: i64 = 1 << 16;

/// Values of a body that nodes compute from weights alone, so that they are weights themselves.
#[derive(Default)]
pub(crate) struct Folding {
    expressions: HashMap<ValueId, Arc<WeightExpr>>,
    dequantizations: HashMap<ValueId, usize>,
}

impl Folding {
    /// Finds them; `weight` returns the weight behind an input of the body.
    pub(crate) fn of(body: &Body, weight: &dyn Fn(ValueId) -> Option<Arc<WeightExpr>>) -> Self {
        let mut folding = Self::default();
        for (position, node) in body.nodes().iter().enumerate() {
            let known = |id: &ValueId| folding.expressions.get(id).cloned().or_else(|| weight(*id));
            let inputs: Option<Vec<Option<Arc<WeightExpr>>>> = node
                .inputs
                .iter()
                .map(|input| match input {
                    None => Some(None),
                    Some(id) => known(id).map(Some),
                })
                .collect();
            let Some(inputs) = inputs.filter(|inputs| inputs.iter().any(Option::is_some)) else { continue };
            let is_quantization = matches!(node.op, Op::Quantize(_) | Op::Dequantize(_));
            let is_late = node.inputs.iter().flatten().any(|id| folding.expressions.contains_key(id));
            if !(is_quantization || is_late && is_pure(node) && stays_small(body, node)) {
                continue;
            }
            for (output, id) in node.outputs.iter().enumerate() {
                let expression = WeightExpr::Apply { op: node.op.clone(), inputs: inputs.clone(), output };
                folding.expressions.insert(*id, Arc::new(expression));
                if matches!(node.op, Op::Dequantize(_)) {
                    folding.dequantizations.insert(*id, position);
                }
            }
        }
        folding
    }

    /// The weight that a node makes.
    pub(crate) fn expression(&self, id: ValueId) -> Option<&Arc<WeightExpr>> {
        self.expressions.get(&id)
    }

    /// The position of the node that dequantizes a weight into this value.
    pub(crate) fn dequantization(&self, id: ValueId) -> Option<usize> {
        self.dequantizations.get(&id).copied()
    }
}

fn is_pure(node: &Node) -> bool {
    node.op.effects() == Effects::NONE && node.op.bodies().is_empty()
}

/// Is the result no larger than the operands? Otherwise the plan would grow.
fn stays_small(body: &Body, node: &Node) -> bool {
    let sum = |ids: &mut dyn Iterator<Item = ValueId>| ids.map(|id| bytes(body.ty(id))).sum::<Option<i64>>();
    let made = sum(&mut node.outputs.iter().copied());
    let given = sum(&mut node.inputs.iter().flatten().copied());
    matches!((made, given), (Some(made), Some(given)) if made <= given.max(SMALL_BYTES))
}

fn bytes(ty: &ValueType) -> Option<i64> {
    let tensor = ty.as_tensor()?;
    let count = tensor.shape.count().ok()?.as_constant()?;
    count.checked_mul(i64::try_from(tensor.data_type.bits()).ok()?).map(|bits| bits / 8)
}
