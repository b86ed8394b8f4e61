//! Taps: the value of every node of a network in a run of its engine, inner values of fused regions included.
//!
//! The engine runs as it is: the same plan, the same kernels. A value between two steps is the one that the engine makes. A
//! value inside a fused region exists nowhere, so the nodes of the region up to it run beside the engine, each by a kernel
//! for this operator alone, on the values that the engine made. So a fused kernel can be compared with its own operators, node
//! by node.

use std::collections::HashMap;

use sinter_backend::panic::caught;
use sinter_backend::{BackEnd, KernelError, Loaded, Region};
use sinter_base::{Location, Value, ValueType};
use sinter_interp::evaluate_weight;
use sinter_ir::{Network, WeightExpr};
use sinter_ops::known::known_type;
use sinter_ops::{Effects, EvalError, InferContext, Node, Operands, ValueId, infer};
use sinter_plan::{Graph, PlanValueId};
use sinter_runtime::{Engine, Observer, RuntimeError, StepValues};

use crate::choose::select::best;
use crate::choose::tuning_database::TuningDatabase;
use crate::devices::Devices;
use crate::harness::{launch_once, packed_operands, workspace_bytes};

/// How a value came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapSource {
    /// The step of the engine at this position made it.
    Step(usize),
    /// It is inside the fused step at this position; a kernel for one operator made it from the engine's values.
    Inside(usize),
    /// No step makes it or contains it: a size that the engine holds in registers.
    Sizes,
}

/// The value of a node.
#[derive(Clone, Copy, Debug)]
pub struct Tap<'a> {
    /// The value in the network.
    pub id: ValueId,
    /// Position of the node that makes it.
    pub node: usize,
    /// The node in the model.
    pub location: &'a Location,
    /// How it came about.
    pub source: TapSource,
    /// Its contents.
    pub value: &'a Value,
}

/// A run with taps that failed.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The engine's run failed.
    #[error(transparent)]
    Run(#[from] RuntimeError),
    /// A device cannot be opened.
    #[error("the device: {0}")]
    Device(KernelError),
    /// A weight cannot be computed.
    #[error("a weight: {0}")]
    Weight(#[from] EvalError),
    /// A node inside a fused region cannot run by itself.
    #[error("{location}: {reason}")]
    Node {
        /// The node.
        location: Location,
        /// Why.
        reason: String,
    },
}

/// Runs an engine once and shows the value of every live node in the order of the network; returns the outputs in order.
/// `network` is the one that the engine's plan was made of ([`crate::Built::network`]). Bodies of control flow are not
/// looked into.
///
/// # Errors
/// When the run fails, or a node of a fused region has no kernel of its own.
pub fn run_tapped(
    engine: &Engine,
    network: &Network,
    back_ends: (&dyn BackEnd, Option<&dyn BackEnd>),
    inputs: &[(String, Value)],
    see: &mut dyn FnMut(&Tap<'_>),
) -> Result<Vec<Value>, TapError> {
    let graph = &engine.plan().graph;
    let count = network.body.value_count();
    let mut made = Made { graph, count, steps: HashMap::new(), values: HashMap::new() };
    let outputs = engine.run_observed(inputs.to_vec(), &mut made)?;
    let Made { steps, mut values, .. } = made;
    for input in &network.inputs {
        let given = inputs.iter().find(|(name, _)| *name == input.name).map(|(_, value)| value.clone());
        let given = given.or_else(|| input.default.clone().map(Value::Tensor));
        values.extend(given.map(|value| (input.value, value)));
    }
    let (main, island) = back_ends;
    let devices = Devices::open(main, island, engine.plan().target.units).map_err(TapError::Device)?;
    let single = Single { devices: &devices, database: TuningDatabase::default() };
    let inside = inside(network, &steps);
    let weights: HashMap<ValueId, &WeightExpr> =
        network.weights.iter().map(|weight| (weight.value, &*weight.expr)).collect();
    let last_uses = network.body.last_uses();
    for (position, node) in network.body.nodes().iter().enumerate() {
        if !inside.contains_key(&position) && !node.outputs.iter().any(|id| steps.contains_key(id)) {
            continue;
        }
        let location = network.locations.get(position).cloned().unwrap_or_default();
        if inside.contains_key(&position) {
            let mut operands = Vec::new();
            for id in &node.inputs {
                operands.push(id.map(|id| value_of(id, &weights, &mut values)).transpose()?);
            }
            let results = single.run(node, &operands);
            let results = results.map_err(|reason| TapError::Node { location: location.clone(), reason })?;
            for (id, value) in node.outputs.iter().zip(results) {
                values.entry(*id).or_insert(value);
            }
        }
        for id in &node.outputs {
            let Some(value) = values.get(id) else { continue };
            let source = match (steps.get(id), inside.get(&position)) {
                (Some(step), _) => TapSource::Step(*step),
                (None, Some(Some(step))) => TapSource::Inside(*step),
                (None, _) => TapSource::Sizes,
            };
            see(&Tap { id: *id, node: position, location: &location, source, value });
        }
        for id in node.inputs.iter().flatten().filter(|id| last_uses.get(id.index()) == Some(&Some(position))) {
            values.remove(id);
        }
    }
    Ok(outputs)
}

/// The value, computed where it is a weight.
fn value_of(
    id: ValueId,
    weights: &HashMap<ValueId, &WeightExpr>,
    values: &mut HashMap<ValueId, Value>,
) -> Result<Value, TapError> {
    if let Some(value) = values.get(&id) {
        return Ok(value.clone());
    }
    let missing = || EvalError::Invalid(format!("nothing makes {id}"));
    let tensor = evaluate_weight(weights.get(&id).ok_or_else(missing)?)?;
    values.insert(id, Value::Tensor(tensor.clone()));
    Ok(Value::Tensor(tensor))
}

/// Nodes whose values no step makes and something needs, with the first step that computes them inside; `None` for sizes,
/// which no step computes.
fn inside(network: &Network, steps: &HashMap<ValueId, usize>) -> HashMap<usize, Option<usize>> {
    // By value that is needed, the first step that reads it inside; behind all steps where none does.
    const NO_STEP: usize = usize::MAX;
    let mut readers: HashMap<ValueId, usize> = network.body.outputs().iter().map(|id| (*id, NO_STEP)).collect();
    let mut inside = HashMap::new();
    for (position, node) in network.body.nodes().iter().enumerate().rev() {
        let made = node.outputs.iter().filter_map(|id| steps.get(id)).min().copied();
        let inner = node.outputs.iter().filter(|id| !steps.contains_key(id));
        let read = inner.filter_map(|id| readers.get(id)).min().copied();
        if let Some(step) = read {
            inside.insert(position, Some(step).filter(|step| *step != NO_STEP));
        }
        let Some(step) = made.or(read) else { continue };
        for id in node.inputs.iter().flatten() {
            readers.entry(*id).and_modify(|known| *known = step.min(*known)).or_insert(step);
        }
    }
    inside
}

/// The values of a network that the steps of an engine make.
struct Made<'a> {
    graph: &'a Graph,
    /// Values of the network; the plan numbers its own values behind them.
    count: usize,
    /// The step that makes a value.
    steps: HashMap<ValueId, usize>,
    values: HashMap<ValueId, Value>,
}

impl Observer for Made<'_> {
    fn before(&mut self, _: usize) {}

    fn after(&mut self, position: usize, values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        let Some(step) = self.graph.steps.get(position) else { return Ok(()) };
        let outputs: Vec<PlanValueId> = step.outputs.iter().copied().filter(|id| id.index() < self.count).collect();
        for id in outputs {
            let of_network = ValueId::new(id.index());
            self.values.insert(of_network, values.value(id)?);
            self.steps.insert(of_network, position);
        }
        Ok(())
    }
}

/// Runs single operators.
struct Single<'a> {
    devices: &'a Devices<'a>,
    database: TuningDatabase,
}

impl Single<'_> {
    fn run(&self, node: &Node, operands: &[Option<Value>]) -> Result<Vec<Value>, String> {
        if node.op.effects() != Effects::NONE || !node.op.bodies().is_empty() {
            return Err(format!("{} runs in the engine only", node.op.name()));
        }
        let types: Vec<Option<ValueType>> = operands.iter().map(|value| value.as_ref().map(known_type)).collect();
        let borrowed: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
        let results = infer(&node.op, &Operands::new(&borrowed), &mut InferContext::default());
        let results = results.map_err(|error| error.to_string())?;
        let region = Region::single(node.op.clone(), &types, results.clone());
        let mut refused = String::new();
        for kernels in self.devices.all() {
            let (back_end, device) = (kernels.back_end(), kernels.device());
            let candidate = match best(&region, back_end, device.target(), &self.database) {
                Ok(candidate) => candidate,
                Err(refusals) => {
                    refused.extend(refusals.iter().map(|(tactic, why)| format!("; {tactic}: {why}")));
                    continue;
                }
            };
            let text = |error: KernelError| error.to_string();
            let recipe = &candidate.recipe;
            let kernel = match &*kernels.make(recipe, &region).map_err(text)? {
                Loaded::Values(kernel) => return caught(&recipe.tactic, || kernel.run(operands)).map_err(text),
                Loaded::Kernel(kernel) => *kernel,
            };
            let tactic = back_end.tactic(&recipe.tactic).ok_or("the tactic is not there")?;
            let tensors = packed_operands(tactic, &candidate, &region, operands).map_err(text)?;
            let given: Vec<ValueType> = types.into_iter().flatten().collect();
            let workspace = workspace_bytes(&candidate, &region, &given);
            return launch_once(&**device, kernel, &results, &tensors, workspace).map_err(text);
        }
        Err(format!("{} has no kernel of its own{refused}", node.op.name()))
    }
}
