//! Checks that the bodies of a control flow step take and give what its operator requires.

use std::sync::Arc;

use sinter_backend::Region;
use sinter_base::{DataType, ValueType};
use sinter_ops::control::nested::captures;
use sinter_ops::{Body, InferContext, Op, Operands, infer_types};

use crate::check::{contents, promises};
use crate::plan::{Graph, PlanValueId, Step, Storage};

/// Types of the results of a step that runs these graphs.
///
/// # Errors
/// The first mismatch.
pub(crate) fn results(outer: &Graph, step: &Step, region: &Region, graphs: &[Graph]) -> Result<Vec<ValueType>, String> {
    let node = region.only().ok_or("control flow of several operators")?;
    if graphs.is_empty() || node.op.bodies().len() != graphs.len() {
        return Err(format!("{} has {} bodies, not {}", node.op.name(), node.op.bodies().len(), graphs.len()));
    }
    let op = node.op.with_bodies(graphs.iter().map(|graph| shell(graph).map(Arc::new)).collect::<Result<_, _>>()?);
    let operand = |id: &Option<PlanValueId>| outer.values.get(id.as_ref()?.index()).map(|value| &value.ty);
    let mut operands: Vec<Option<&ValueType>> = step.inputs.iter().map(operand).collect();
    // An operand that is left out is a weight that the body captures, or an input that the body does not use.
    for (graph, (first, operand)) in graphs.iter().zip(captures(&op)) {
        let is_idle = |id: &PlanValueId| {
            let is_read = |step: &Step| step.inputs.iter().flatten().chain(&step.outputs).any(|touched| touched == id);
            !graph.steps.iter().any(is_read) && !graph.outputs.contains(id)
        };
        for (id, operand) in graph.inputs.iter().skip(first).zip(operands.iter_mut().skip(operand)) {
            let own = graph.values.get(id.index());
            let own =
                own.filter(|value| matches!(value.storage, Storage::Weight(_)) || operand.is_none() && is_idle(id));
            *operand = operand.or(own.map(|value| &value.ty));
        }
    }
    let types = infer_types(&op, &Operands::new(&operands), &mut InferContext::default()).map_err(|e| e.to_string())?;
    if types.len() != step.outputs.len() {
        return Err(format!("{} has {} results, not {}", op.name(), types.len(), step.outputs.len()));
    }
    for (graph, first) in graphs.iter().zip(captures(&op)) {
        captured(&op, graph, first, &operands)?;
    }
    loop_inputs(&op)?;
    Ok(types)
}

fn types<'a>(graph: &'a Graph, ids: &'a [PlanValueId]) -> impl Iterator<Item = Option<&'a ValueType>> {
    ids.iter().map(|id| graph.values.get(id.index()).map(|value| &value.ty))
}

/// A body with the inputs and results of a graph.
fn shell(graph: &Graph) -> Result<Body, String> {
    let all = |ids| types(graph, ids).map(Option::<&ValueType>::cloned).collect::<Option<Vec<_>>>();
    let ends = all(&graph.inputs).zip(all(&graph.outputs));
    ends.map(|(inputs, results)| Body::shell(inputs, results)).ok_or_else(|| "a body has no values".to_owned())
}

/// Captured values have known contents, and so has the condition of a loop, which is true; all other inputs change from
/// iteration to iteration.
fn captured(
    op: &Op,
    graph: &Graph,
    (first, operand): (usize, usize),
    operands: &[Option<&ValueType>],
) -> Result<(), String> {
    for (position, ty) in types(graph, &graph.inputs).enumerate() {
        let Some(ty) = ty.filter(|ty| contents(ty).is_some()) else { continue };
        let holds = || ty.as_tensor().and_then(|ty| ty.constant_ints()).as_deref() == Some(&[1]);
        let given =
            position.checked_sub(first).and_then(|at| operands.get(operand.checked_add(at)?).copied().flatten());
        let is_known = match given {
            Some(given) => promises(ty, given),
            None => matches!(op, Op::Loop(_)) && position == 1 && holds(),
        };
        if !is_known {
            return Err(format!("input {position} of a body declares contents that its operator does not promise"));
        }
    }
    Ok(())
}

/// The operator passes the index of the iteration and the condition to the body of a loop, whatever the body declares.
fn loop_inputs(op: &Op) -> Result<(), String> {
    let Op::Loop(op) = op else { return Ok(()) };
    let is_of = |id: Option<&_>, required: DataType| {
        id.is_some_and(|id| op.body.ty(*id).as_tensor().is_some_and(|ty| ty.data_type == required))
    };
    let inputs = op.body.inputs();
    if is_of(inputs.first(), DataType::I64) && is_of(inputs.get(1), DataType::Bool) {
        return Ok(());
    }
    Err("the body of a loop takes the index of the iteration, an i64, and a condition".to_owned())
}
