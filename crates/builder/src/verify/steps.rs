//! Compares every step of a plan with the meaning of its own region, on the reference executor's values.
//!
//! It compares the values that the regions make of each other's results, by their meaning, with the network as well:
//! that finds steps that read a wrong value, or consist of other operators. The bodies of control flow are graphs of
//! their own. The reference executor runs the operator that owns them, and each body is verified with its inputs of the
//! first and the last run, so that a kernel inside is dropped by name like any other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sinter_backend::{Recipe, Region};
use sinter_base::{Value, ValueType};
use sinter_interp::inputs::{batches, sizes_of};
use sinter_interp::{FastEvaluator, evaluate_weight};
use sinter_ir::{Input, Network, WeightExpr};
use sinter_ops::control::nested::captures;
use sinter_ops::{Body, EvalContext, Node, Steps, ValueId};
use sinter_plan::{Action, Graph, Launch, PlanValueId, Step, Storage, Variant};

use crate::assemble::lowered::LoweredPlan;
use crate::choose::concrete::problem_text;
use crate::choose::tuning_database::Failure;
use crate::devices::Devices;
use crate::progress::{Progress, Stage};
use crate::sizes::SizeHints;
use crate::verify::discrete::is_discrete;
use crate::verify::fresh::{Known, Spread};
use crate::verify::kernel_test::{Agreed, Bench};
use crate::verify::reference::{evaluate, reference_context};
use crate::verify::trace::{Trace, agree_but_for_few, hash_of};
use crate::verify::whole::is_random;
use crate::verify::{Answers, Dropped, Unverified, Verification, bodies, fresh, overflow, points, probes};

/// Errors of a plan.
#[derive(Default)]
pub(crate) struct Wrong {
    /// Kernels that do not agree.
    pub(crate) failures: Vec<Failure>,
    /// How the regions together differ from the network, though each kernel computes its region.
    pub(crate) together: Option<String>,
}

/// The plan to be verified, with its references.
pub(crate) struct Subject<'a> {
    pub(crate) lowered_plan: &'a LoweredPlan,
    /// The network that the plan was made of.
    pub(crate) network: &'a Network,
    pub(crate) answers: &'a Answers,
    /// The trace of the network.
    pub(crate) trace: &'a Trace,
    /// The user's hints for dynamic dimensions.
    pub(crate) hints: &'a SizeHints,
}

/// Compares every step of a plan with the reference executor.
pub(crate) fn check(
    subject: &Subject<'_>,
    devices: &Devices<'_>,
    found: &mut Verification,
    progress: Progress<'_>,
) -> Wrong {
    let Subject { lowered_plan, network, answers, trace, hints } = *subject;
    (found.agreed, found.skipped) = (0, None);
    found.unverified.clear();
    let mut checker = Checker {
        bench: Bench { lowered_plan, devices, memory: answers.memory },
        hints,
        answers,
        batches: batches(network),
        registers: registers(lowered_plan, network, answers),
        seen: HashSet::new(),
        found: Verification::default(),
        wrong: Wrong::default(),
    };
    let constants: Constants = network.weights.iter().map(|weight| (weight.value, weight.expr.clone())).collect();
    let source = Source { body: &network.body, constants: &constants };
    match given(network, answers) {
        Ok(values) => {
            let see = |id: PlanValueId, value: &Value| trace.check(network, answers, ValueId::new(id.index()), value);
            _ = checker.graph(&lowered_plan.plan.graph, source, values, progress, &see);
        }
        Err(reason) => {
            found.skipped = Some(reason);
            return Wrong::default();
        }
    }
    let first = std::mem::take(&mut checker.found);
    (found.agreed, found.unverified) = (first.agreed, first.unverified);
    let is_idle = |unverified: &Unverified| unverified.reason == IDLE;
    let again = answers.again.as_ref().filter(|_| found.unverified.iter().any(is_idle));
    // Other inputs may run a body that did not run on the first ones.
    if let Some((again, Ok(values))) = again.map(|again| (again, given(network, again))) {
        checker.registers = registers(lowered_plan, network, again);
        checker.graph(&lowered_plan.plan.graph, source, values, progress, &|_, _| Ok(()));
        found.agreed = found.agreed.max(checker.found.agreed);
        found.unverified.retain(|one| !is_idle(one) || checker.found.unverified.contains(one));
    }
    checker.wrong
}

/// Receives every value that a step makes by the meaning of its region; returns its difference from the network's
/// value.
type See<'a> = &'a dyn Fn(PlanValueId, &Value) -> Result<(), String>;

/// Why a body is not verified.
const IDLE: &str = "a body did not run on these inputs";

/// The inputs of the network, by value of the plan.
fn given(network: &Network, answers: &Answers) -> Result<HashMap<PlanValueId, Value>, String> {
    let value = |input: &Input| {
        let default = || input.default.clone().map(Value::Tensor);
        let value = answers.inputs.get(&input.name).cloned().or_else(default);
        let value = value.ok_or_else(|| format!("input '{}' is not given", input.name))?;
        Ok((PlanValueId::new(input.value.index()), value))
    };
    network.inputs.iter().map(value).collect()
}

/// The registers of a plan for the reference executor's inputs.
fn registers(lowered_plan: &LoweredPlan, network: &Network, answers: &Answers) -> Vec<i64> {
    let sizes = sizes_of(network, &answers.inputs);
    lowered_plan.plan.shapes.registers(&|name| sizes.get(name).copied()).unwrap_or_default()
}

/// Constants of a body, by its inputs.
type Constants = HashMap<ValueId, Arc<WeightExpr>>;

/// The network or body behind a graph.
#[derive(Clone, Copy)]
struct Source<'a> {
    body: &'a Body,
    constants: &'a Constants,
}

enum Trouble {
    Unverified(String),
    Disagrees { recipe: Box<Recipe>, region: Box<Region>, reason: String },
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Trouble::Unverified(reason)
    }
}

struct Checker<'a> {
    bench: Bench<'a>,
    /// The user's hints for dynamic dimensions.
    hints: &'a SizeHints,
    answers: &'a Answers,
    /// Names of the sizes that count batches.
    batches: BTreeSet<String>,
    /// The registers of the plan for the reference executor's inputs.
    registers: Vec<i64>,
    /// Kernels and regions that were tested with random operands: equal layers need one test.
    seen: HashSet<String>,
    found: Verification,
    wrong: Wrong,
}

impl Checker<'_> {
    /// Verifies all steps of a graph; `values` are the reference executor's, by value of the graph. Afterwards they
    /// hold the graph's results.
    fn graph(
        &mut self,
        graph: &Graph,
        source: Source<'_>,
        mut values: HashMap<PlanValueId, Value>,
        progress: Progress<'_>,
        see: See<'_>,
    ) -> HashMap<PlanValueId, Value> {
        for (position, value) in graph.values.iter().enumerate() {
            let Some(tensor) = value.in_registers(&self.registers) else { continue };
            self.see(PlanValueId::new(position), Value::Tensor(tensor), "sizes", &mut values, see);
        }
        let mut last_use = HashMap::new();
        for (position, step) in graph.steps.iter().enumerate() {
            for id in step.inputs.iter().flatten() {
                last_use.insert(*id, position);
            }
        }
        for (position, step) in graph.steps.iter().enumerate() {
            let origin = step.origins.join(", ");
            progress.step(Stage::Verify, position, graph.steps.len());
            match self.step(graph, source, step, &mut values, see) {
                Ok(()) => self.found.agreed += 1,
                Err(Trouble::Unverified(reason)) => self.found.unverified.push(Unverified { origin, reason }),
                Err(Trouble::Disagrees { recipe, region, reason }) => {
                    let dropped = Dropped { name: recipe.to_string(), origin, reason };
                    self.wrong.failures.push(Failure { recipe: *recipe, region: *region, dropped });
                }
            }
            let is_over = |id: &&PlanValueId| last_use.get(id) == Some(&position) && !graph.outputs.contains(id);
            step.inputs.iter().flatten().filter(is_over).for_each(|id| _ = values.remove(id));
        }
        values
    }

    fn value(&self, graph: &Graph, values: &HashMap<PlanValueId, Value>, id: PlanValueId) -> Result<Value, String> {
        if let Some(Storage::Weight(weight)) = graph.values.get(id.index()).map(|v| &v.storage) {
            let Some(pack) = self.bench.lowered_plan.packs.get(weight) else {
                return Ok(Value::Tensor(self.bench.lowered_plan.plan.weights[weight.index()].tensor().clone()));
            };
            let expression = &self.bench.lowered_plan.expressions[pack.weight.index()];
            return evaluate_weight(expression).map(Value::Tensor).map_err(|e| e.to_string());
        }
        let missing = || "an operand was made by a step that could not be verified".to_owned();
        values.get(&id).cloned().ok_or_else(missing)
    }

    fn step(
        &mut self,
        graph: &Graph,
        source: Source<'_>,
        step: &Step,
        values: &mut HashMap<PlanValueId, Value>,
        see: See<'_>,
    ) -> Result<(), Trouble> {
        if let Action::Control { graphs, .. } = &step.action {
            return self.control(graph, source, step, graphs, values, see);
        }
        let mut operands = Vec::new();
        for id in &step.inputs {
            operands.push(id.map(|id| self.value(graph, values, id)).transpose()?);
        }
        let memory = self.answers.memory;
        let Some(region) = step.region() else {
            // A copy returns its operand.
            let copied: Vec<Value> = operands.into_iter().flatten().collect();
            self.note(step, &copied, values, see);
            return Ok(());
        };
        let expected = evaluate(region.body(), &operands, memory)?;
        self.note(step, &expected, values, see);
        // The check of the whole plan shows whether values lie where a step without a kernel expects them.
        let variants: Vec<&Variant> = step.launch().into_iter().flat_map(Launch::variants).collect();
        variants.into_iter().try_for_each(|variant| self.variant(graph, step, variant, &operands, &expected))
    }

    /// One kernel of a step.
    fn variant(
        &mut self,
        graph: &Graph,
        step: &Step,
        variant: &Variant,
        operands: &[Option<Value>],
        expected: &[Value],
    ) -> Result<(), Trouble> {
        let Some(region) = step.region() else { return Ok(()) };
        let (recipe, memory) = (&variant.recipe, self.answers.memory);
        let is_new = self.seen.insert(format!("{recipe:?}\n{}", problem_text(region)));
        let test = self.bench.test(graph, step, variant)?;
        let agrees = |operands: &[Option<Value>], expected: &[Value]| {
            let (recipe, region) = (Box::new(recipe.clone()), Box::new(region.clone()));
            test.agrees(operands, expected).map_err(|reason| Trouble::Disagrees { recipe, region, reason })
        };
        let mut agreed = vec![agrees(operands, expected)?];
        if let Some(turned) = probes::from_the_end(region.body(), operands) {
            agreed.push(agrees(&turned, expected)?);
        }
        if is_new {
            for operands in self.fresh(graph, step, operands, region) {
                // Operands that the reference executor refuses are invalid.
                if let Ok(expected) = evaluate(region.body(), &operands, memory) {
                    agreed.push(agrees(&operands, &expected)?);
                }
            }
        }
        if agreed.contains(&Agreed::Overflows) { Err(overflow::REASON.to_owned().into()) } else { Ok(()) }
    }

    /// Records the values that a step makes by its meaning, which may differ from the network's.
    fn note(&mut self, step: &Step, results: &[Value], values: &mut HashMap<PlanValueId, Value>, see: See<'_>) {
        for (id, value) in step.outputs.iter().zip(results) {
            self.see(*id, value.clone(), &step.origins.join(", "), values, see);
        }
    }

    fn see(
        &mut self,
        id: PlanValueId,
        value: Value,
        origin: &str,
        values: &mut HashMap<PlanValueId, Value>,
        see: See<'_>,
    ) {
        if let Err(reason) = see(id, &value) {
            self.wrong.together.get_or_insert(format!("the regions together, at {origin}: {reason}"));
        }
        values.insert(id, value);
    }

    /// A step of control flow: verifies its bodies, each with its inputs; a body that never ran stays unverified.
    fn control(
        &mut self,
        graph: &Graph,
        Source { body, constants }: Source<'_>,
        step: &Step,
        graphs: &[Graph],
        values: &mut HashMap<PlanValueId, Value>,
        see: See<'_>,
    ) -> Result<(), Trouble> {
        // The plan holds the bodies as graphs only.
        let makes =
            |node: &&Node| node.outputs.iter().map(|id| id.index()).eq(step.outputs.iter().map(|id| id.index()));
        let node = body.nodes().iter().find(makes).ok_or("its operator does not exist".to_owned())?;
        let mut operands = Vec::new();
        for (input, id) in node.inputs.iter().zip(&step.inputs) {
            let constant = input.and_then(|input| constants.get(&input));
            operands.push(match (id, constant) {
                (Some(id), _) => Some(self.value(graph, values, *id)?),
                // The bodies own the weights that they capture.
                (None, Some(weight)) => Some(Value::Tensor(evaluate_weight(weight).map_err(|e| e.to_string())?)),
                (None, None) => None,
            });
        }
        let (results, runs) = bodies::run(&node.op, &operands, self.answers.memory, self.answers.most_steps());
        if let Ok(results) = &results {
            self.note(step, results, values, see);
        }
        let mut idle = false;
        let bodies = node.op.bodies().into_iter().zip(captures(&node.op));
        for ((graph, (body, (first_input, first_operand))), runs) in graphs.iter().zip(bodies).zip(runs) {
            idle |= runs.is_empty() && !graph.steps.is_empty();
            let captured = body.inputs().iter().skip(first_input).zip(node.inputs.iter().skip(first_operand));
            let constant =
                |(inner, outer): (&ValueId, &Option<ValueId>)| Some((*inner, constants.get(&(*outer)?)?.clone()));
            let constants: Constants = captured.filter_map(constant).collect();
            let source = Source { body, constants: &constants };
            for inputs in runs {
                let values = graph.inputs.iter().zip(&inputs).filter_map(|(id, value)| Some((*id, value.clone()?)));
                let made = self.graph(graph, source, values.collect(), Progress::default(), &|_, _| Ok(()));
                self.together(graph, body, inputs, &made);
            }
        }
        results.map_err(Trouble::Unverified)?;
        if idle { Err(IDLE.to_owned().into()) } else { Ok(()) }
    }

    /// Do the steps of a body together give its results?
    fn together(&mut self, graph: &Graph, body: &Body, inputs: bodies::Inputs, made: &HashMap<PlanValueId, Value>) {
        let steps = Steps::of(self.answers.most_steps());
        let cx = EvalContext { steps: Some(&steps), ..reference_context(&FastEvaluator, self.answers.memory) };
        if is_random(body) {
            return;
        }
        let Ok(expected) = body.evaluate(inputs, &cx) else { return };
        let may_decide = is_discrete(body);
        for (position, (id, expected)) in graph.outputs.iter().zip(&expected).enumerate() {
            let Some(found) = made.get(id).filter(|found| hash_of(found) != hash_of(expected)) else { continue };
            if let Err(reason) = agree_but_for_few(found, expected, may_decide) {
                self.wrong.together.get_or_insert(format!("result {position} of a body: {reason}"));
            }
        }
    }

    /// Random operands for a step, at the same sizes and at others.
    fn fresh(
        &self,
        graph: &Graph,
        step: &Step,
        operands: &[Option<Value>],
        region: &Region,
    ) -> Vec<Vec<Option<Value>>> {
        let is_weight =
            |id: &PlanValueId| matches!(graph.values.get(id.index()).map(|v| &v.storage), Some(Storage::Weight(_)));
        let known = step.inputs.iter().zip(operands).map(|(id, value)| {
            let (id, value) = (id.as_ref()?, value.as_ref()?);
            Some(Known { value, is_weight: is_weight(id) })
        });
        let known: Vec<Option<Known<'_>>> = known.collect();
        let types: Vec<ValueType> = operands.iter().flatten().map(Value::value_type).collect();
        let of = |types: &[ValueType], spread| fresh::operands(region.body(), &known, types, spread);
        let unit = of(&types, Spread::Unit);
        let subnormal = fresh::has_subnormals(&types).then(|| of(&types, Spread::Subnormal)).flatten();
        let weights: Vec<bool> =
            known.iter().map(|known| known.as_ref().is_some_and(|known| known.is_weight)).collect();
        let small = probes::has_epsilon(region.body()).then(|| probes::small(unit.as_ref()?, &weights)).flatten();
        let other =
            points::other_sizes(region, &|name| self.batches.contains(name), &|name, size| self.hints.near(name, size));
        let other = other.and_then(|types| of(&types, Spread::Unit));
        [unit, subnormal, small, other].into_iter().flatten().collect()
    }
}
