//! Every step of a plan against the meaning of its own region, on the judge's values.
//!
//! The bodies of control flow are graphs of their own. The judge runs the operator that owns them, and each body is gone
//! through with what it was given the first and the last time, so that a kernel inside is dropped by name as any other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sinter_backend::panic::caught;
use sinter_backend::{Candidate, KernelError, Kernels, Loaded, Numerics, Recipe, Region, Workers};
use sinter_base::{DataType, Tensor, Value, ValueType};
use sinter_interp::evaluate_weight;
use sinter_interp::inputs::batches;
use sinter_ir::{Input, Network, WeightExpr};
use sinter_ops::control::nested::captures;
use sinter_ops::shown::shown_type;
use sinter_ops::{Body, InferContext, Memory, Node, ValueId};
use sinter_plan::{Action, Graph, Home, PlanValueId, Step};

use crate::draft::Draft;
use crate::evidence::problem_text;
use crate::parity::rules::{Rule, agree, coarsest_rounding, rule_of, score_error};
use crate::parity::{
    Answers, Dropped, Unverified, Verification, bodies, evaluate, points, products, sensitivity, trials, unit_variance,
};
use crate::progress::{Progress, Stage};
use crate::sizes::SizeHints;
use crate::trial::{launch_once, workspace_bytes};

/// A step whose kernel does not agree.
pub(crate) struct Failure {
    pub(crate) recipe: Recipe,
    pub(crate) region: Region,
    pub(crate) dropped: Dropped,
}

/// Holds every step of a draft against the judge; `network` is what the plan was made of.
pub(crate) fn check(
    draft: &Draft,
    network: &Network,
    answers: &Answers,
    hints: &SizeHints,
    kernels: &Kernels<'_>,
    found: &mut Verification,
    progress: Progress<'_>,
) -> Vec<Failure> {
    (found.agreed, found.skipped) = (0, None);
    found.unverified.clear();
    let workers = kernels.back_end().workers(draft.plan.target.units);
    let mut checker = Checker {
        draft,
        workers: &*workers,
        hints,
        memory: answers.memory,
        batches: batches(network),
        seen: HashSet::new(),
        kernels,
        found: Verification::default(),
        failures: Vec::new(),
    };
    let constants: Constants = network.weights.iter().map(|weight| (weight.value, weight.expr.clone())).collect();
    match given(network, answers) {
        Ok(values) => checker.graph(&draft.plan.graph, (&network.body, &constants), values, progress),
        Err(reason) => {
            found.skipped = Some(reason);
            return Vec::new();
        }
    }
    let first = std::mem::take(&mut checker.found);
    (found.agreed, found.unverified) = (first.agreed, first.unverified);
    let is_idle = |unverified: &Unverified| unverified.reason == IDLE;
    let again = answers.again.as_ref().filter(|_| found.unverified.iter().any(is_idle));
    // What a body without a run leaves open, other inputs may show.
    if let Some(Ok(values)) = again.map(|again| given(network, again)) {
        checker.graph(&draft.plan.graph, (&network.body, &constants), values, progress);
        found.agreed = found.agreed.max(checker.found.agreed);
        found.unverified.retain(|one| !is_idle(one) || checker.found.unverified.contains(one));
    }
    checker.failures
}

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

/// Constants of a body, by its inputs.
type Constants = HashMap<ValueId, Arc<WeightExpr>>;

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
    draft: &'a Draft,
    workers: &'a dyn Workers,
    /// What the user knows of open sizes.
    hints: &'a SizeHints,
    /// What the judge may take.
    memory: Memory,
    /// Names of the sizes that count batches.
    batches: BTreeSet<String>,
    /// Kernels and regions that were given fresh numbers: layers that are alike need them once.
    seen: HashSet<String>,
    kernels: &'a Kernels<'a>,
    found: Verification,
    failures: Vec<Failure>,
}

impl Checker<'_> {
    /// All steps of a graph, which was made of a body and its constants; `values` are the judge's, by value of the graph.
    fn graph(
        &mut self,
        graph: &Graph,
        body: (&Body, &Constants),
        mut values: HashMap<PlanValueId, Value>,
        progress: Progress<'_>,
    ) {
        let mut last_use = HashMap::new();
        for (position, step) in graph.steps.iter().enumerate() {
            for id in step.inputs.iter().flatten() {
                last_use.insert(*id, position);
            }
        }
        for (position, step) in graph.steps.iter().enumerate() {
            let origin = step.origins.join(", ");
            progress.step(Stage::Verify, position, graph.steps.len());
            match self.step(graph, body, step, &mut values) {
                Ok(()) => self.found.agreed += 1,
                Err(Trouble::Unverified(reason)) => self.found.unverified.push(Unverified { origin, reason }),
                Err(Trouble::Disagrees { recipe, region, reason }) => {
                    let dropped = Dropped { name: recipe.to_string(), origin, reason };
                    self.failures.push(Failure { recipe: *recipe, region: *region, dropped });
                }
            }
            for id in step.inputs.iter().flatten().filter(|id| last_use.get(id) == Some(&position)) {
                values.remove(id);
            }
        }
    }

    fn value(&self, graph: &Graph, values: &HashMap<PlanValueId, Value>, id: PlanValueId) -> Result<Value, String> {
        if let Some(Home::Weight(weight)) = graph.values.get(id.index()).map(|v| &v.home) {
            let Some(pack) = self.draft.packs.get(weight) else {
                return Ok(Value::Tensor(self.draft.plan.weights[weight.index()].tensor().clone()));
            };
            let expression = &self.draft.expressions[pack.weight.index()];
            return evaluate_weight(expression).map(Value::Tensor).map_err(|e| e.to_string());
        }
        let missing = || "an operand was made by a step that could not be verified".to_owned();
        values.get(&id).cloned().ok_or_else(missing)
    }

    fn step(
        &mut self,
        graph: &Graph,
        body: (&Body, &Constants),
        step: &Step,
        values: &mut HashMap<PlanValueId, Value>,
    ) -> Result<(), Trouble> {
        if let Action::Control { graphs, .. } = &step.action {
            return self.control(graph, body, step, graphs, values);
        }
        let mut operands = Vec::new();
        for id in &step.inputs {
            operands.push(id.map(|id| self.value(graph, values, id)).transpose()?);
        }
        let mut note = |results: &[Value]| values.extend(step.outputs.iter().copied().zip(results.iter().cloned()));
        let expected = evaluate(step.region().body(), &operands, self.memory)?;
        note(&expected);
        // Whether values were written where a step without a kernel finds them, the whole plan shows.
        let Action::Kernel { recipe, region, .. } = &step.action else { return Ok(()) };
        let candidate =
            self.draft.candidates.get(region, recipe).ok_or_else(|| format!("{recipe} was never offered"))?;
        let kernel = self.kernels.load(recipe, region).map_err(|e| e.to_string());
        let is_new = self.seen.insert(format!("{recipe:?}\n{}", problem_text(region)));
        let trial = |operands: &[Option<Value>], expected: &[Value]| -> Result<(), Trouble> {
            let disagrees = |reason| {
                let (recipe, region) = (Box::new(recipe.clone()), Box::new(region.clone()));
                Trouble::Disagrees { recipe, region, reason }
            };
            let loaded = kernel.as_ref().map_err(Clone::clone).map_err(disagrees)?;
            let found = self.launch(graph, step, (candidate, &**loaded), operands).map_err(disagrees)?;
            let body = region.body();
            if candidate.numerics == Numerics::Exact {
                let moved = |(found, expected)| agree(found, expected, Rule::Moved, 0.0, 0.0);
                return found.iter().zip(expected).try_for_each(moved).map_err(disagrees);
            }
            let (rule, wider, rounding) = (rule_of(body), score_error(body, operands), coarsest_rounding(body));
            let all = |(found, expected)| agree(found, expected, rule, wider, rounding);
            let agreed = products::check(body, operands, &found, expected);
            match agreed.and_then(|()| found.iter().zip(expected).try_for_each(all)) {
                Err(_) if sensitivity::excuses(body, operands, &found, expected, self.memory) => Ok(()),
                other => other.map_err(disagrees),
            }
        };
        trial(&operands, &expected)?;
        if let Some(turned) = trials::from_the_end(region.body(), &operands) {
            trial(&turned, &expected)?;
        }
        if !is_new {
            return Ok(());
        }
        // Values that earlier layers made may be zero over wide ranges: once more with fresh ones.
        let types: Vec<ValueType> = operands.iter().flatten().map(Value::value_type).collect();
        let Some(fresh) = self.fresh(graph, step, &operands, &types) else { return Ok(()) };
        let Ok(expected) = evaluate(region.body(), &fresh, self.memory) else { return Ok(()) };
        trial(&fresh, &expected)?;
        if let Some(small) = trials::has_epsilon(region.body()).then(|| trials::small(&fresh)).flatten() {
            let expected = evaluate(region.body(), &small, self.memory)?;
            trial(&small, &expected)?;
        }
        let Some(types) =
            points::other_sizes(region, &|name| self.batches.contains(name), &|name, size| self.hints.near(name, size))
        else {
            return Ok(());
        };
        let Some(fresh) = self.fresh(graph, step, &operands, &types) else { return Ok(()) };
        let Ok(expected) = evaluate(region.body(), &fresh, self.memory) else { return Ok(()) };
        trial(&fresh, &expected)
    }

    /// A step of control flow: its bodies, each with what it was given; one that never ran could not be verified.
    fn control(
        &mut self,
        graph: &Graph,
        (body, constants): (&Body, &Constants),
        step: &Step,
        graphs: &[Graph],
        values: &mut HashMap<PlanValueId, Value>,
    ) -> Result<(), Trouble> {
        // The plan has the bodies as graphs only.
        let makes =
            |node: &&Node| node.outputs.iter().map(|id| id.index()).eq(step.outputs.iter().map(|id| id.index()));
        let node = body.nodes().iter().find(makes).ok_or("its operator is gone".to_owned())?;
        let mut operands = Vec::new();
        for (input, id) in node.inputs.iter().zip(&step.inputs) {
            let constant = input.and_then(|input| constants.get(&input));
            operands.push(match (id, constant) {
                (Some(id), _) => Some(self.value(graph, values, *id)?),
                // The bodies have captured weights as their own.
                (None, Some(weight)) => Some(Value::Tensor(evaluate_weight(weight).map_err(|e| e.to_string())?)),
                (None, None) => None,
            });
        }
        let (results, runs) = bodies::run(&node.op, &operands, self.memory)?;
        values.extend(step.outputs.iter().copied().zip(results));
        let mut idle = false;
        let bodies = node.op.bodies().into_iter().zip(captures(&node.op));
        for ((graph, (body, (first_input, first_operand))), runs) in graphs.iter().zip(bodies).zip(runs) {
            idle |= runs.is_empty() && !graph.steps.is_empty();
            let captured = body.inputs().iter().skip(first_input).zip(node.inputs.iter().skip(first_operand));
            let constant =
                |(inner, outer): (&ValueId, &Option<ValueId>)| Some((*inner, constants.get(&(*outer)?)?.clone()));
            let constants: Constants = captured.filter_map(constant).collect();
            for inputs in runs {
                let values = graph.inputs.iter().zip(inputs).filter_map(|(id, value)| Some((*id, value?)));
                self.graph(graph, (body, &constants), values.collect(), Progress::default());
            }
        }
        if idle { Err(IDLE.to_owned().into()) } else { Ok(()) }
    }

    /// Fresh numbers for operands of these types, when all that are no weights are floats; a type for each that is there.
    fn fresh(
        &self,
        graph: &Graph,
        step: &Step,
        operands: &[Option<Value>],
        types: &[ValueType],
    ) -> Option<Vec<Option<Value>>> {
        let is_weight =
            |id: &PlanValueId| matches!(graph.values.get(id.index()).map(|v| &v.home), Some(Home::Weight(_)));
        let (mut any, mut types) = (false, types.iter());
        let fresh = step.inputs.iter().zip(operands).zip(0u64..).map(|((id, value), stream)| {
            let (Some(id), Some(value)) = (id, value) else { return Some(None) };
            let ty = types.next()?;
            if is_weight(id) {
                return Some(Some(value.clone()));
            }
            any = true;
            let ty = ty.as_tensor().filter(|t| matches!(t.data_type, DataType::F32 | DataType::F64))?;
            let sizes = ty.shape.sizes()?;
            let count = sinter_base::shape::element_count(&sizes)? as u64;
            let numbers: Vec<f64> = (0..count).map(|i| unit_variance(stream, i)).collect();
            Some(Some(Tensor::from_floats(ty.data_type, &sizes, &numbers).ok()?.into()))
        });
        fresh.collect::<Option<Vec<_>>>().filter(|_| any)
    }

    fn launch(
        &self,
        graph: &Graph,
        step: &Step,
        (candidate, kernel): (&Candidate, &Loaded),
        operands: &[Option<Value>],
    ) -> Result<Vec<Value>, String> {
        let (region, tactic) = (step.region(), &candidate.recipe.tactic);
        let text = |e: KernelError| e.to_string();
        let kernel = match kernel {
            Loaded::Values(kernel) => return caught(tactic, || kernel.run(operands)).map_err(text),
            Loaded::Views(kernel) => kernel,
        };
        let mut tensors = Vec::new();
        for (position, (value, id)) in operands.iter().zip(&step.inputs).enumerate() {
            let tensor = match (candidate.packed.contains(&position), id) {
                (true, Some(id)) => match graph.values.get(id.index()).map(|v| &v.home) {
                    Some(Home::Weight(weight)) => Some(self.draft.plan.weights[weight.index()].tensor().clone()),
                    _ => return Err("a packed operand is no weight".to_owned()),
                },
                _ => value.as_ref().and_then(Value::as_tensor).cloned(),
            };
            if value.is_some() && tensor.is_none() {
                return Err("an operand is no tensor".to_owned());
            }
            tensors.push(tensor);
        }
        let types: Vec<ValueType> = operands.iter().flatten().map(shown_type).collect();
        let results = region.infer(&types, &mut InferContext::default()).map_err(|e| e.to_string())?;
        let workspace = workspace_bytes(candidate, region, &types);
        let launch = || launch_once(&**kernel, &results, &tensors, workspace, self.workers);
        caught(tactic, launch).map_err(text)
    }
}
