//! Runs the whole plan once, as the runtime will, and compares the outputs with the reference executor's.
//!
//! Each step is verified on the reference executor's values, against the meaning of its own region, and their meanings
//! together against the network (see [`trace`](super::trace)). That does not show whether values stay intact in shared
//! memory, whether scratch memory suffices, nor whether control flow works inside. One inference shows it, by two
//! comparisons: the outputs must agree with the reference executor, and, bit by bit, with those of the same plan with a
//! buffer of its own for every value.
//!
//! Errors of all steps add up in the first comparison, so the bound is that of self-test vectors: 2e-3 of the largest
//! element, or a few units in the last place of the coarsest type in use. Where an output depends on an operator that
//! quantizes or selects, rounding may decide otherwise, and only the angle is compared; the tests of the steps and the
//! second comparison cover such an operator and its operands.

use std::collections::HashMap;

use sinter_backend::{KernelError, Region};
use sinter_base::{DataType, Tensor, Value};
use sinter_interp::{Tolerance, compare};
use sinter_ir::Network;
use sinter_ops::{Body, Node};
use sinter_plan::{Action, Bound, BufferId, Graph, Plan, PlanValueId, SelfTestOutput, Step, Storage};
use sinter_runtime::{Engine, EngineOptions, RuntimeError};

use crate::devices::Devices;
use crate::verify::answers::Answers;
use crate::verify::discrete::dependent;
use crate::verify::probes::opposite;
use crate::verify::rules::rounding_of;
use crate::verify::{overflow, sensitivity};

/// The effect of other orders of f32 sums after many layers.
const RELATIVE: f64 = 2e-3;
/// Units in the last place of a narrow type.
const UNITS: f64 = 4.0;
/// The bound of outputs that the last bit may decide.
const COSINE: f64 = 0.9;
/// Limit on the memory of a plan with a buffer of its own for every value.
const MOST_APART: usize = 2 << 30;

/// The outputs of a network that depend on an operator that decides by the last bit.
pub(crate) fn dependent_outputs(network: &Network) -> Vec<bool> {
    dependent(&network.body, &vec![false; network.body.inputs().len()])
}

/// The bounds of outputs.
pub(crate) fn bounds(network: &Network) -> Vec<Bound> {
    let own = Bound::Within { absolute: 1e-6, relative: RELATIVE.max(UNITS * coarsest(&network.body)) };
    let bound = |depends| if depends { Bound::Cosine(COSINE) } else { own };
    dependent_outputs(network).into_iter().map(bound).collect()
}

/// One unit in the last place of the coarsest float type in which the body computes, relative to the number.
fn coarsest(body: &Body) -> f64 {
    let of = |node: &Node| {
        let made = node.outputs.iter().map(|id| rounding_of(body.ty(*id).data_type()));
        let inside = node.op.bodies().into_iter().map(|body| coarsest(body)).fold(0.0, f64::max);
        made.fold(inside, f64::max)
    };
    body.nodes().iter().map(of).fold(0.0, f64::max)
}

/// Does any node draw random numbers? The engine uses its own seed.
pub(crate) fn is_random(body: &Body) -> bool {
    body.nodes().iter().any(|node| node.op.effects().random || node.op.bodies().iter().any(|body| is_random(body)))
}

/// The difference of a plan from the network.
pub(crate) enum Mismatch {
    /// It computes something else, or does not run.
    Differs(String),
    /// Rounding or selection may explain it, or memory does not suffice: the result is unknown.
    Unverifiable(String),
}

/// Runs the plan on the reference executor's inputs; with control flow, also at other sizes and on the other branch of
/// every condition that is an input. `network` is the imported one.
///
/// # Errors
/// The output that differs, or why the plan does not run.
pub(crate) fn check(
    plan: &Plan,
    network: &Network,
    answers: &Answers,
    devices: &Devices<'_>,
    max_memory: u64,
) -> Result<(), Mismatch> {
    if is_random(&network.body) {
        return Ok(());
    }
    if let Some(reason) = &answers.unfinished {
        return Err(Mismatch::Unverifiable(reason.clone()));
    }
    let max_memory = usize::try_from(max_memory).unwrap_or(usize::MAX);
    let options = EngineOptions { threads: plan.target.units, max_memory };
    let load = |plan: Plan, options: &EngineOptions| {
        Engine::with_kernels(plan, &devices.all(), options).map_err(|e| Mismatch::Differs(e.to_string()))
    };
    let engine = load(plan.clone(), &options)?;
    let apart = load(apart(plan), &EngineOptions { max_memory: max_memory.min(MOST_APART), ..options })?;
    let mut all = vec![agrees(&engine, &apart, network, answers)];
    if has_variants(&plan.graph) {
        // Other sizes launch other kernels.
        all.extend(answers.of_profiles.iter().map(|answers| match answers {
            Ok(answers) => agrees(&engine, &apart, network, answers),
            Err(reason) => Err(Mismatch::Unverifiable(format!("at the sizes of another profile: {reason}"))),
        }));
    }
    if has_control_flow(network) {
        let again = answers.again.as_deref();
        // Where the reference executor fails there is nothing to compare.
        let turned = turned(&answers.inputs).and_then(|turned| Answers::of(network, turned, answers.memory).ok());
        let others = again.into_iter().chain(&turned);
        all.extend(others.map(|answers| agrees(&engine, &apart, network, answers)));
    }
    worst(all)
}

/// An error outweighs an unknown result.
fn worst(mut all: Vec<Result<(), Mismatch>>) -> Result<(), Mismatch> {
    let is_wrong = |result: &Result<(), Mismatch>| matches!(result, Err(Mismatch::Differs(_)));
    let worst = all.iter().position(is_wrong).or_else(|| all.iter().position(Result::is_err));
    worst.map_or(Ok(()), |at| all.swap_remove(at))
}

fn has_variants(graph: &Graph) -> bool {
    let mut has = false;
    graph.visit_steps(&mut |step| has |= step.launch().is_some_and(|launch| !launch.special.is_empty()));
    has
}

fn has_control_flow(network: &Network) -> bool {
    network.body.nodes().iter().any(|node| !node.op.bodies().is_empty())
}

/// The same plan with a buffer of its own for every value, in bodies too: no value reuses another's buffer, and all
/// live to the end, where a step without work reads them.
fn apart(plan: &Plan) -> Plan {
    fn separate(graph: &mut Graph) {
        let mut all = Vec::new();
        for (position, value) in graph.values.iter_mut().enumerate() {
            if let Storage::Arena(buffer) = &mut value.storage {
                *buffer = BufferId::new(position);
                all.push(Some(PlanValueId::new(position)));
            }
        }
        for step in &mut graph.steps {
            match &mut step.action {
                Action::Launch(launch) => launch.in_place.clear(),
                Action::Alias { .. } | Action::Copy | Action::Sync => {}
                Action::Control { graphs, .. } => graphs.iter_mut().for_each(separate),
            }
        }
        let action = Action::Alias { region: Region::new(Body::new()) };
        graph.steps.push(Step { action, inputs: all, outputs: Vec::new(), origins: Vec::new() });
    }
    let mut plan = plan.clone();
    separate(&mut plan.graph);
    plan
}

/// The outputs of the last of this many runs, each of which finds the previous run's contents in all memory, the
/// caller's included.
fn ran(engine: &Engine, inputs: &HashMap<String, Value>, rounds: usize) -> Result<Vec<Value>, Mismatch> {
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let mut run = || {
        inputs.iter().try_for_each(|(name, value)| bindings.set(name, value.clone()))?;
        (0..rounds).try_for_each(|_| context.run_into(&mut bindings))?;
        bindings.to_values()
    };
    run().map_err(|error| match &error {
        RuntimeError::Memory { .. } | RuntimeError::Step { source: KernelError::Memory(_), .. } => {
            Mismatch::Unverifiable(error.to_string())
        }
        _ => Mismatch::Differs(format!("it does not run: {error}")),
    })
}

fn agrees(engine: &Engine, apart: &Engine, network: &Network, answers: &Answers) -> Result<(), Mismatch> {
    let found = ran(engine, &answers.inputs, 2)?;
    match ran(apart, &answers.inputs, 1) {
        Ok(apart) => same_bits(network, &found, &apart)?,
        // There is too little memory for it.
        Err(Mismatch::Unverifiable(_)) => {}
        Err(other) => return Err(other),
    }
    let (bounds, depends) = (bounds(network), dependent_outputs(network));
    let output = |(at, found): (usize, &Value)| {
        let (Some(known), Some(bound)) = (answers.outputs.get(at), bounds.get(at)) else { return Ok(()) };
        let Err((reason, is_selected)) = same(found, known, *bound) else { return Ok(()) };
        let name = network.outputs.get(at).map_or("", |port| &port.name);
        let reason = format!("output '{name}': {reason}");
        let depends = depends.get(at) == Some(&true);
        // Rounding may change any number of selected elements. Without control flow, the tests of the steps and the
        // comparison of bits cover all else.
        Err(if depends && (is_selected || !has_control_flow(network)) {
            Mismatch::Unverifiable(format!("{reason}; an operator in front of it quantizes or selects"))
        } else if sensitivity::explains(network, answers, at, found) {
            Mismatch::Unverifiable(format!("{reason}; rounding alone may do half of that"))
        } else if overflow::network_may_overflow(network, answers) {
            Mismatch::Unverifiable(format!("{reason}; {}", overflow::REASON))
        } else {
            Mismatch::Differs(reason)
        })
    };
    worst(found.iter().enumerate().map(output).collect())
}

/// Are outputs the same with and without shared memory?
fn same_bits(network: &Network, found: &[Value], apart: &[Value]) -> Result<(), Mismatch> {
    for (port, (found, apart)) in network.outputs.iter().zip(found.iter().zip(apart)) {
        if let Err(reason) = compare(found, apart, Tolerance::EXACT) {
            let reason = format!("output '{}', beside the one without shared memory: {reason}", port.name);
            return Err(Mismatch::Differs(reason));
        }
    }
    Ok(())
}

/// Compares an output with the known one.
///
/// # Errors
/// The first difference, and whether it concerns the number of elements.
fn same(found: &Value, known: &Value, bound: Bound) -> Result<(), (String, bool)> {
    let (found, known) = (tensors(found), tensors(known));
    if found.len() != known.len() {
        return Err((format!("{} tensors, known are {}", found.len(), known.len()), true));
    }
    for (found, known) in found.into_iter().zip(known) {
        let Some(answer) = SelfTestOutput::all(known, bound) else { continue };
        answer.check(found).map_err(|reason| (reason, found.sizes() != known.sizes()))?;
    }
    Ok(())
}

/// The tensors of a value, in order.
pub(crate) fn tensors(value: &Value) -> Vec<&Tensor> {
    match value {
        Value::Tensor(tensor) => vec![tensor],
        Value::Sequence { items, .. } => items.iter().flat_map(tensors).collect(),
        Value::Optional { item, .. } => item.iter().flat_map(|item| tensors(item)).collect(),
    }
}

/// The inputs with every truth value negated; `None` where there is none.
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
