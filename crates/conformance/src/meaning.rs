//! The semantics of a plan: every step computes its region on values, wherever the plan stores them.
//!
//! Buffers, aliases, operands that share memory and scratch memory are no part of the semantics, nor is the kernel of a
//! step, except for one with packed weights: only that kernel can read them, so it runs by itself, in separate memory.
//! A plan that the reader accepts must give these results or an error.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_backend::{BackEnd, Loaded};
use sinter_base::{Tensor, Value, ValueType};
use sinter_builder::harness::launch_once;
use sinter_interp::FastEvaluator;
use sinter_ops::{Arguments, Body, EvalContext, EvalError, InferContext, Memory, Op, Steps, ValueId};
use sinter_plan::{Action, Graph, Launch, Plan, PlanValueId, Stages, Step, Storage, Variant};

/// Why a plan has no results.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The evaluation exceeds the limits.
    Endless,
    /// An operator refuses its operands.
    Refused(String),
}

impl From<EvalError> for Trouble {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Steps { .. } | EvalError::Memory { .. } => Trouble::Endless,
            other => Trouble::Refused(other.to_string()),
        }
    }
}

fn refused(reason: impl ToString) -> Trouble {
    Trouble::Refused(reason.to_string())
}

/// Limits of an evaluation.
pub struct Limits {
    /// Operators, those in loops counted every time.
    pub steps: u64,
    /// Bytes of values.
    pub bytes: u64,
}

/// The outputs of a plan on named inputs.
///
/// # Errors
/// Why there are none.
pub fn meaning(
    plan: &Plan,
    back_ends: &[&dyn BackEnd],
    inputs: &[(String, Value)],
    limits: &Limits,
) -> Result<Vec<Value>, Trouble> {
    let steps = Steps::of(limits.steps);
    let cx = EvalContext { memory: Memory::of(limits.bytes), steps: Some(&steps), ..EvalContext::new(&FastEvaluator) };
    let mut values = HashMap::new();
    for port in &plan.inputs {
        let given = inputs.iter().find(|(name, _)| *name == port.name).map(|(_, value)| value.clone());
        let default = || port.default.map(|weight| Value::Tensor(plan.weights[weight.index()].tensor().clone()));
        let value = given.or_else(default).ok_or_else(|| refused(format!("'{}' is not given", port.name)))?;
        values.insert(port.value, value);
    }
    let stages = Stages::of(plan);
    let mut named: Vec<PlanValueId> = plan.inputs.iter().map(|port| port.value).collect();
    let mut outermost = Outermost { plan, back_ends, cx, registers: Vec::new() };
    let mut stage = 0;
    outermost.enter(&stages, stage, &named, &mut values)?;
    for step in &plan.graph.steps {
        if matches!(step.action, Action::Sync) {
            named.extend(step.inputs.iter().flatten());
            stage += 1;
            outermost.enter(&stages, stage, &named, &mut values)?;
            continue;
        }
        let results = outermost.step(step, &values)?;
        values.extend(step.outputs.iter().copied().zip(results));
    }
    let value = |id| outermost.value(&values, id);
    plan.outputs.iter().map(|port| value(port.value)).collect()
}

struct Outermost<'a> {
    plan: &'a Plan,
    back_ends: &'a [&'a dyn BackEnd],
    cx: EvalContext<'a>,
    registers: Vec<i64>,
}

impl Outermost<'_> {
    /// Computes the registers of a stage from the sizes of the values that name them, and the values in registers.
    fn enter(
        &mut self,
        stages: &Stages,
        stage: usize,
        named: &[PlanValueId],
        values: &mut HashMap<PlanValueId, Value>,
    ) -> Result<(), Trouble> {
        let Self { plan, registers, .. } = self;
        registers.resize(plan.shapes.register_count(), 0);
        for name in plan.shapes.symbols() {
            let size = named.iter().find_map(|id| {
                let dims = plan.graph.values[id.index()].ty.as_tensor()?.dims().ok()?;
                let axis = dims.iter().position(|dim| dim.as_symbol() == Some(name))?;
                i64::try_from(*values.get(id)?.as_tensor()?.sizes().get(axis)?).ok()
            });
            if let (Some(size), Some(register)) = (size, plan.shapes.symbol(name)) {
                registers[register.0 as usize] = size;
            }
        }
        plan.shapes.run_where(registers, |at| stages.registers()[at] <= stage).map_err(refused)?;
        for (position, value) in plan.graph.values.iter().enumerate() {
            let id = PlanValueId::new(position);
            if matches!(value.storage, Storage::Registers(_)) && stages.of_value(&plan.graph, id) == stage {
                let tensor = value.in_registers(registers).ok_or_else(|| refused("sizes that do not fit"))?;
                values.insert(id, Value::Tensor(tensor));
            }
        }
        Ok(())
    }

    fn value(&self, values: &HashMap<PlanValueId, Value>, id: PlanValueId) -> Result<Value, Trouble> {
        match &self.plan.graph.values[id.index()].storage {
            Storage::Weight(weight) => Ok(Value::Tensor(self.plan.weights[weight.index()].tensor().clone())),
            _ => values.get(&id).cloned().ok_or_else(|| refused(format!("{id} is never made"))),
        }
    }

    fn step(&self, step: &Step, values: &HashMap<PlanValueId, Value>) -> Result<Vec<Value>, Trouble> {
        let operand = |id: &Option<PlanValueId>| id.map(|id| self.value(values, id)).transpose();
        let operands: Vec<Option<Value>> = step.inputs.iter().map(operand).collect::<Result<_, _>>()?;
        match &step.action {
            Action::Launch(launch) if !launch.general.packed.is_empty() => self.alone(launch, &operands),
            Action::Sync => Ok(Vec::new()),
            Action::Copy => {
                operands.into_iter().map(|value| value.ok_or_else(|| refused("a copy of nothing"))).collect()
            }
            Action::Launch(Launch { region, .. }) | Action::Alias { region } => {
                let given = operands.into_iter().filter(Option::is_some).collect();
                Ok(region.body().evaluate(given, &self.cx)?)
            }
            Action::Control { .. } => {
                let (op, weights) = whole((self.plan, &self.registers), step).map_err(Trouble::Refused)?;
                let operands = with_weights(&op, operands, weights);
                Ok(op.reference(&Arguments::new(&operands), &self.cx)?)
            }
        }
    }

    /// The kernel of a step in memory of its own.
    fn alone(&self, launch: &Launch, operands: &[Option<Value>]) -> Result<Vec<Value>, Trouble> {
        let Launch { region, general: Variant { recipe, packed, code, .. }, .. } = launch;
        let own = |back_end: &&&dyn BackEnd| back_end.tactic(&recipe.tactic).is_some();
        let back_end = self.back_ends.iter().find(own).ok_or_else(|| refused("no such tactic"))?;
        let device = back_end.open(1).map_err(refused)?;
        let code = code.and_then(|code| self.plan.code.get(code.index()));
        let loaded = device.load(recipe, region, code).map_err(refused)?;
        let Loaded::Kernel(kernel) = loaded else { return Err(refused("a kernel on values packs nothing")) };
        let mut types: Vec<ValueType> = Vec::new();
        for (position, value) in operands.iter().enumerate() {
            let Some(value) = value else { continue };
            let is_packed = packed.contains(&position);
            types.push(if is_packed { region.body().input_types()[types.len()].clone() } else { value.value_type() });
        }
        let results = region.infer(&types, &mut InferContext::default()).map_err(refused)?;
        let tensors: Vec<Option<Tensor>> =
            operands.iter().map(|value| value.as_ref().and_then(Value::as_tensor).cloned()).collect();
        launch_once(&*device, kernel, &results, &tensors, SCRATCH).map_err(refused)
    }
}

/// More scratch memory than the kernel of any small step requests.
const SCRATCH: usize = 1 << 20;

/// The operator of a control flow step with its graphs as bodies, and for each body the weights that it reads, which
/// become inputs behind its own, as do values in registers.
fn whole(plan: (&Plan, &[i64]), step: &Step) -> Result<(Op, Vec<Vec<Value>>), String> {
    let Action::Control { region, graphs } = &step.action else { return Err("no control flow".to_owned()) };
    let node = region.only().ok_or("several operators")?;
    let inlined = graphs.iter().map(|graph| inlined(plan, graph)).collect::<Result<Vec<_>, _>>()?;
    let (bodies, weights) = inlined.into_iter().map(|(body, weights)| (Arc::new(body), weights)).unzip();
    Ok((node.op.with_bodies(bodies), weights))
}

/// The operands of an operator with the weights that its bodies read. Those of a branch follow its own captured values.
fn with_weights<T: Clone>(op: &Op, mut operands: Vec<Option<T>>, weights: Vec<Vec<T>>) -> Vec<Option<T>> {
    let mut end = 1;
    for (body, weights) in op.bodies().into_iter().zip(weights) {
        end = if matches!(op, Op::If(_)) { end + body.inputs().len() } else { operands.len() + weights.len() };
        let at = end - weights.len();
        operands.splice(at..at, weights.into_iter().map(Some));
    }
    operands
}

/// The operators of a graph of a plan as one body, and the weights that are inputs behind those of the graph.
fn inlined((plan, registers): (&Plan, &[i64]), graph: &Graph) -> Result<(Body, Vec<Value>), String> {
    let mut body = Body::new();
    let mut ids: HashMap<PlanValueId, ValueId> = HashMap::new();
    for id in &graph.inputs {
        ids.insert(*id, body.add_input(graph.values[id.index()].ty.clone()));
    }
    let mut weights = Vec::new();
    for (position, value) in graph.values.iter().enumerate() {
        let tensor = match &value.storage {
            Storage::Weight(weight) => plan.weights[weight.index()].tensor().clone(),
            Storage::Registers(_) => value.in_registers(registers).ok_or("sizes that do not fit")?,
            _ => continue,
        };
        ids.insert(PlanValueId::new(position), body.add_input(value.ty.clone()));
        weights.push(Value::Tensor(tensor));
    }
    let known = |ids: &HashMap<PlanValueId, ValueId>, id: &PlanValueId| {
        ids.get(id).copied().ok_or_else(|| format!("{id} is never made"))
    };
    for step in &graph.steps {
        let inputs: Vec<Option<ValueId>> =
            step.inputs.iter().map(|id| id.as_ref().map(|id| known(&ids, id)).transpose()).collect::<Result<_, _>>()?;
        let results: Vec<ValueId> = match &step.action {
            Action::Launch(launch) if !launch.general.packed.is_empty() => {
                return Err("a packed weight in a body".to_owned());
            }
            Action::Copy => inputs.into_iter().flatten().collect(),
            Action::Sync => return Err("a body reads sizes".to_owned()),
            Action::Control { region, .. } => {
                let (op, inner) = whole((plan, registers), step)?;
                let mut added = Vec::new();
                for values in inner {
                    let add = |value: &Value| body.add_input(value.value_type());
                    added.push(values.iter().map(add).collect::<Vec<_>>());
                    weights.extend(values);
                }
                let inputs = with_weights(&op, inputs, added);
                body.add_typed(op, &inputs, region.body().output_types()).to_vec()
            }
            Action::Launch(Launch { region, .. }) | Action::Alias { region } => {
                let inner = region.body();
                let mut own: HashMap<ValueId, ValueId> =
                    inner.inputs().iter().copied().zip(inputs.iter().copied().flatten()).collect();
                for node in inner.nodes() {
                    let operands: Vec<Option<ValueId>> =
                        node.inputs.iter().map(|id| id.and_then(|id| own.get(&id).copied())).collect();
                    let types = node.outputs.iter().map(|id| inner.ty(*id).clone()).collect();
                    own.extend(node.outputs.iter().copied().zip(body.add_typed(node.op.clone(), &operands, types)));
                }
                inner.outputs().iter().filter_map(|id| own.get(id).copied()).collect()
            }
        };
        ids.extend(step.outputs.iter().copied().zip(results));
    }
    body.set_outputs(graph.outputs.iter().map(|id| known(&ids, id)).collect::<Result<_, _>>()?);
    Ok((body, weights))
}
