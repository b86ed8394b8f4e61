//! The whole plan, run once as the runtime will run it, against the judge's answers.
//!
//! Steps are verified one by one on the judge's values, each against the meaning of its own region. That does not show
//! whether the regions together are the network (a wrong operand, layout or pack), whether values live long enough in
//! the memory they share, whether scratch memory suffices, nor what control flow does inside. One inference shows it.
//!
//! Errors of all steps add up here, so the bound is that of sealed vectors: 2e-3 of the largest element, or a few units in
//! the last place of the coarsest type that is computed in. Where rounding may select something else the angle is
//! compared, as for sealed vectors.

use std::collections::HashMap;

use sinter_backend::{KernelError, Kernels};
use sinter_base::{DataType, Tensor, Value};
use sinter_ir::Network;
use sinter_ops::{Body, Node};
use sinter_plan::{Bound, Plan, SealedOutput};
use sinter_runtime::{Engine, EngineOptions, RuntimeError};

use crate::parity::sensitivity::unit;
use crate::parity::trials::opposite;
use crate::parity::{Answers, is_discrete, sensitivity};

/// What sums of f32 in another order come to, after many layers.
const RELATIVE: f64 = 2e-3;
/// Units in the last place of a narrow type.
const UNITS: f64 = 4.0;

/// What outputs may differ by.
pub(crate) fn bound_of(network: &Network) -> Bound {
    if is_discrete(&network.body) {
        return Bound::Cosine(0.9);
    }
    Bound::Within { absolute: 1e-6, relative: RELATIVE.max(UNITS * coarsest(&network.body)) }
}

/// One unit in the last place of the coarsest float type that the body computes in, as a part of the number.
fn coarsest(body: &Body) -> f64 {
    let of = |node: &Node| {
        let made = node.outputs.iter().map(|id| unit(body.ty(*id).data_type()));
        let inside = node.op.bodies().into_iter().map(|body| coarsest(body)).fold(0.0, f64::max);
        made.fold(inside, f64::max)
    };
    body.nodes().iter().map(of).fold(0.0, f64::max)
}

/// Does anything draw random numbers? The engine seeds its own.
fn is_random(body: &Body) -> bool {
    body.nodes().iter().any(|node| node.op.effects().random || node.op.bodies().iter().any(|body| is_random(body)))
}

/// How a plan differs from the network.
pub(crate) enum Mismatch {
    /// It computes something else, or does not run.
    Differs(String),
    /// No more than rounding may do, or select, or there is no memory for it: nothing is known.
    Unverifiable(String),
}

/// Runs the plan on the judge's inputs; with control flow, at other sizes and on the other side of every condition that is
/// an input as well. `network` is the one as imported.
///
/// # Errors
/// The output that differs, or why the plan does not run.
pub(crate) fn check(
    plan: &Plan,
    network: &Network,
    answers: &Answers,
    kernels: &Kernels<'_>,
    max_memory: u64,
) -> Result<(), Mismatch> {
    if is_random(&network.body) {
        return Ok(());
    }
    let max_memory = usize::try_from(max_memory).unwrap_or(usize::MAX);
    let options = EngineOptions { threads: plan.target.units, max_memory };
    let engine = Engine::with_kernels(plan.clone(), kernels, &options).map_err(|e| Mismatch::Differs(e.to_string()))?;
    agrees(&engine, network, answers)?;
    if network.body.nodes().iter().all(|node| node.op.bodies().is_empty()) {
        return Ok(());
    }
    if let Some(again) = &answers.again {
        agrees(&engine, network, again)?;
    }
    // Where the judge does not go either there is nothing to compare.
    let turned = turned(&answers.inputs).and_then(|turned| Answers::of(network, turned, answers.memory).ok());
    turned.map_or(Ok(()), |turned| agrees(&engine, network, &turned))
}

fn agrees(engine: &Engine, network: &Network, answers: &Answers) -> Result<(), Mismatch> {
    let given = answers.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let found = engine.run(given).map_err(|error| match &error {
        RuntimeError::Memory { .. } | RuntimeError::Step { source: KernelError::Memory(_), .. } => {
            Mismatch::Unverifiable(error.to_string())
        }
        _ => Mismatch::Differs(format!("it does not run: {error}")),
    })?;
    let bound = bound_of(network);
    for (at, (port, found)) in network.outputs.iter().zip(&found).enumerate() {
        let Some(known) = answers.outputs.get(at) else { continue };
        let Err((reason, is_selected)) = same(found, known, bound) else { continue };
        let reason = format!("output '{}': {reason}", port.name);
        // One rounding more or less may select as many elements as nobody can foresee.
        let is_selected = is_selected && is_discrete(&network.body);
        return Err(if is_selected || sensitivity::explains(network, answers, at, found) {
            Mismatch::Unverifiable(format!("{reason}; rounding alone may do half of that"))
        } else {
            Mismatch::Differs(reason)
        });
    }
    Ok(())
}

/// Holds an output against the known one.
///
/// # Errors
/// The first difference, and whether it is one of how many elements there are.
fn same(found: &Value, known: &Value, bound: Bound) -> Result<(), (String, bool)> {
    let (found, known) = (tensors(found), tensors(known));
    if found.len() != known.len() {
        return Err((format!("{} tensors, known are {}", found.len(), known.len()), true));
    }
    for (found, known) in found.into_iter().zip(known) {
        let Some(answer) = SealedOutput::all(known, bound) else { continue };
        answer.check(found).map_err(|reason| (reason, found.sizes() != known.sizes()))?;
    }
    Ok(())
}

/// The tensors of a value, in order.
fn tensors(value: &Value) -> Vec<&Tensor> {
    match value {
        Value::Tensor(tensor) => vec![tensor],
        Value::Sequence { items, .. } => items.iter().flat_map(tensors).collect(),
        Value::Optional { item, .. } => item.iter().flat_map(|item| tensors(item)).collect(),
    }
}

/// The inputs with every truth value turned round; `None` where there is none.
fn turned(inputs: &HashMap<String, Value>) -> Option<HashMap<String, Value>> {
    let is_bool = |value: &Value| value.as_tensor().is_some_and(|t| t.data_type() == DataType::Bool);
    let turn = |value: &Value| opposite(value).unwrap_or_else(|| value.clone());
    inputs.values().any(is_bool).then(|| inputs.iter().map(|(name, value)| (name.clone(), turn(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_turned_round() {
        let named = |tensor: Tensor| HashMap::from([("x".to_owned(), Value::from(tensor))]);
        assert!(turned(&named(Tensor::scalar(DataType::F32, 1.0))).is_none());
        let other = turned(&named(Tensor::scalar(DataType::Bool, 1.0))).unwrap();
        assert_eq!(other["x"].as_tensor().unwrap().to_bools(), [false]);
    }
}
