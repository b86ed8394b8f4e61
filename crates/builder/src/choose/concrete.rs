//! Regions at concrete sizes, and their text with everything that tactics see.

use std::collections::HashMap;

use sinter_backend::Region;
use sinter_base::ValueType;
use sinter_ops::{Body, InferContext, Operands, infer};

/// The region with all types concrete.
pub(crate) fn at_sizes(region: &Region, types: &[ValueType]) -> Option<Region> {
    let old = region.body();
    let mut body = Body::new();
    let mut map = HashMap::new();
    for (id, ty) in old.inputs().iter().zip(types) {
        map.insert(*id, body.add_input(ty.clone()));
    }
    for node in old.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| map.get(&id).copied())).collect();
        let results = {
            let operands: Vec<Option<&ValueType>> = inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
            infer(&node.op, &Operands::new(&operands), &mut InferContext::default()).ok()?
        };
        let outputs = body.add_typed(node.op.clone(), &inputs, results);
        map.extend(node.outputs.iter().copied().zip(outputs));
    }
    body.set_outputs(old.outputs().iter().map(|id| map.get(id).copied()).collect::<Option<Vec<_>>>()?);
    Some(Region::new(body))
}

/// A region as text, with facts that its own text omits but tactics see: which operands are weights, and known
/// contents.
pub(crate) fn problem_text(region: &Region) -> String {
    let mut text = region.to_string();
    if !region.constants().is_empty() {
        text.push_str(&format!("weights {:?}\n", region.constants()));
    }
    text.push_str(&region.contents());
    text
}
