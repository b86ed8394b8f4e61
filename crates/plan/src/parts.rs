//! Which parts of values a plan may have: the half of the proof that needs no numbers.
//!
//! A part lies in an input or in a value of the arena, and two ways lead there. A slice lies where its operand has it.
//! Results of kernels are written where a concatenation has them: so a written part is an operand of a placed
//! concatenation, whose result is the whole or again such an operand. That parts lie inside of their whole, and those of a
//! concatenation fill it side by side, depends on sizes: the runtime checks it whenever it lays memory out.

use sinter_ops::Op;

use crate::error::PlanError;
use crate::plan::{Action, Graph, Home, PlanValueId, Step};

/// Checks all parts of a graph.
///
/// # Errors
/// The first that may not be.
pub(crate) fn check(graph: &Graph, is_outermost: bool) -> Result<(), PlanError> {
    let wrong = |id: PlanValueId, reason: &str| Err(PlanError::damaged(format!("{id}: {reason}")));
    let home = |id: PlanValueId| graph.values.get(id.index()).map(|value| &value.home);
    for (position, value) in graph.values.iter().enumerate() {
        let Home::Part(part) = value.home else { continue };
        let id = PlanValueId::new(position);
        let whole = graph.values.get(part.whole.index());
        let Some(whole) = whole.filter(|whole| whole.sizes.is_some() && is_outermost) else {
            return wrong(id, "a part of a value of open size, or inside of control flow");
        };
        if !matches!(whole.home, Home::Arena(_) | Home::Input) || whole.ty.data_type() != value.ty.data_type() {
            return wrong(id, "a part of a part, a weight, or a value of another element type");
        }
    }
    // Operands of placed concatenations that lead to the whole.
    let mut is_joined = vec![false; graph.values.len()];
    for step in graph.steps.iter().rev() {
        match &step.action {
            Action::Placed { .. } => placed(graph, step, &mut is_joined)?,
            Action::Kernel { .. } | Action::Control { .. } => {
                let is_lost = |id: &&PlanValueId| {
                    matches!(home(**id), Some(Home::Part(_))) && is_joined.get(id.index()) != Some(&true)
                };
                if let Some(id) = step.outputs.iter().find(is_lost) {
                    return wrong(*id, "written into a value that it is no operand of");
                }
            }
        }
    }
    Ok(())
}

/// A step that does nothing must have nothing to do.
fn placed(graph: &Graph, step: &Step, is_joined: &mut [bool]) -> Result<(), PlanError> {
    let wrong = |reason: &str| {
        Err(PlanError::damaged(format!("the step of {} does nothing, but {reason}", step.origins.join(", "))))
    };
    let [result] = step.outputs.as_slice() else { return wrong("has several results") };
    let whole = graph.whole(*result);
    let is_part = |id: PlanValueId| matches!(graph.values.get(id.index()).map(|v| &v.home), Some(Home::Part(_)));
    match step.region().only().map(|node| &node.op) {
        Some(Op::Concat(_)) => {
            let leads_there = whole == *result || is_joined.get(result.index()) == Some(&true);
            for operand in &step.inputs {
                let Some(operand) = operand.filter(|id| is_part(*id) && graph.whole(*id) == whole) else {
                    return wrong("an operand lies elsewhere");
                };
                if let Some(slot) = is_joined.get_mut(operand.index()).filter(|_| leads_there) {
                    *slot = true;
                }
            }
        }
        Some(Op::Slice(_)) => {
            let operand = step.inputs.first().copied().flatten();
            if !is_part(*result) || operand.map(|id| graph.whole(id)) != Some(whole) {
                return wrong("its result lies elsewhere");
            }
        }
        _ => return wrong("its operator moves elements"),
    }
    Ok(())
}
