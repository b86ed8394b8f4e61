//! The parity gate: a plan is held against the judge before anyone sees it.
//!
//! Two questions. *Do the passes keep the meaning?* The judge runs the network as imported and after the passes, on the same
//! inputs. *Does every kernel compute its region?* Each step of the plan is given the judge's values for its operands, so
//! that an error shows where it is made and nowhere else, and, where all operands are floats, fresh numbers of unit
//! scale as well, once for each kind of region, there also at other sizes where sizes are open; its results are compared
//! with the region's own meaning. A kernel that fails is dropped by name for that region, a pass that fails is left out, and
//! the build goes on with what is left.
//!
//! What may differ, and why (u is the rounding unit of the element type):
//!
//! | results | rule | derivation |
//! |---|---|---|
//! | floats | `abs(a - b) <= 3e-5 max(abs(b)) + 2e-4 abs(b)`, wider for f16 and bf16 | sums of up to 1e5 products in any order err by less than `sqrt(n) u max` in practice |
//! | products of f32 | the same per channel, or `3e-5 (abs(A) abs(B))` per element | see [`products`] |
//! | attention | the same, and relative `8 u max(abs(q)) max(abs(k)) scale` | scores err by their own rounding, which the exponential makes relative |
//! | quantized integers | one step | the scale division may fall on either side of a tie |
//! | those of a quantization alone | one step in a thousandth of the elements | the quotients are the same |
//! | integers computed from floats | one step in a thousandth of the elements | the same, where a rounding meets a discontinuity |
//! | all else | equal | |

mod answers;
mod effects;
mod points;
mod products;
mod sensitivity;
mod trials;
pub(crate) mod whole;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sinter_backend::{BackEnd, KernelError, Loaded, Region, Workers};
use sinter_base::{DataType, Floats, Tensor, TensorType, Value, ValueType};
use sinter_interp::inputs::batches;
use sinter_interp::{FastEvaluator, Tolerance, compare, evaluate_weight, run_with};
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{Body, EvalContext, InferContext, Op, Operands, infer};
use sinter_plan::{Action, Home, Plan, PlanValueId, Sealed, SealedInput, SealedOutput, SealedVector, Step};

use crate::evidence::{Evidence, problem_text};
use crate::lower::Pack;
pub(crate) use crate::parity::answers::{Answers, answers};
use crate::parity::effects::same_effects;
use crate::parts::Moved;
use crate::progress::{Progress, Stage};
use crate::sizes::SizeHints;
use crate::trial::launch_once;

/// What the user wants to be verified with.
#[derive(Clone, Debug, Default)]
pub enum Verify {
    /// Inputs that are made up.
    #[default]
    Generated,
    /// These inputs, by name.
    Given(HashMap<String, Value>),
    /// Nothing is verified.
    Off,
}

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Why nothing could be verified.
    pub skipped: Option<String>,
    /// How the network after the passes differs from the one before, where rounding alone may select something else.
    pub unverified_passes: Option<String>,
    /// Steps that agree with the judge.
    pub agreed: usize,
    /// Kernels that were dropped.
    pub dropped: Vec<Dropped>,
    /// Steps that could not be verified: (source in the model, reason).
    pub unverified: Vec<(String, String)>,
}

/// A kernel or pass that did not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The tactic or pass.
    pub name: String,
    /// Where in the model.
    pub origin: String,
    /// The first difference.
    pub reason: String,
}

/// A plan with what its weights were made of.
pub(crate) struct Draft {
    pub(crate) plan: Plan,
    pub(crate) expressions: Vec<Arc<WeightExpr>>,
    /// What was packed, by the value that holds the pack.
    pub(crate) packs: HashMap<PlanValueId, Pack>,
    /// Concatenations and slices that move elements.
    pub(crate) moved: Vec<Moved>,
}

/// Tensors of at most this many elements show their contents to inference, as at run time.
const MAX_SHOWN: usize = 1024;
/// Inputs of at most this many bytes in all are sealed into the plan.
const MAX_SEALED: usize = 1 << 20;

/// Is the network's result stable under rounding? Quantization and selection amplify the last bit.
pub(crate) fn is_discrete(body: &Body) -> bool {
    body.nodes().iter().any(|node| {
        let selects = matches!(
            node.op,
            Op::Quantize(_)
                | Op::TopK(_)
                | Op::NonZero(_)
                | Op::NonMaxSuppression(_)
                | Op::ArgReduce(_)
                | Op::Unique(_)
        );
        selects || node.op.effects().random || node.op.bodies().iter().any(|body| is_discrete(body))
    })
}

/// Effects and outputs of the network after the passes against those before.
///
/// # Errors
/// The first difference; effects count even where outputs may differ.
pub(crate) fn keeps_meaning(imported: &Network, network: &Network, answers: &Answers) -> Result<(), Change> {
    same_effects(imported, network).map_err(Change::Effects)?;
    same_meaning(network, answers).map_err(Change::Outputs)
}

/// What passes may not change.
pub(crate) enum Change {
    Effects(String),
    Outputs(String),
}

/// The network's outputs after the passes against those before.
///
/// # Errors
/// The first output that differs.
fn same_meaning(network: &Network, answers: &Answers) -> Result<(), String> {
    let outputs = run_with(network, &answers.inputs, &FastEvaluator).map_err(|e| e.to_string())?;
    for (at, (port, found)) in network.outputs.iter().zip(&outputs).enumerate() {
        let Some(expected) = answers.outputs.get(at) else { continue };
        if let Err(reason) = agree(found, expected, Rule::Float, 0.0)
            && !sensitivity::explains(network, &answers.inputs, at, found, expected)
        {
            return Err(format!("output '{}': {reason}", port.name));
        }
    }
    Ok(())
}

/// Which line of the table applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Float,
    Quantized,
    /// Nothing is computed in front of the quantization: the same quotients are rounded.
    OnlyQuantized,
    Exact,
}

fn rule_of(body: &Body) -> Rule {
    let computes_floats = |op: &Op| match op {
        Op::Pointwise(op) => op.program.steps().iter().any(|step| step.data_type().is_float()),
        _ => false,
    };
    if matches!(body.nodes(), [node] if matches!(node.op, Op::Quantize(_))) {
        Rule::OnlyQuantized
    } else if body.nodes().iter().any(|node| matches!(node.op, Op::Quantize(_))) {
        Rule::Quantized
    } else if body.nodes().iter().any(|node| computes_floats(&node.op)) {
        Rule::Float
    } else {
        Rule::Exact
    }
}

/// How far scores of attention may err: by their rounding, which the exponential turns into a relative error of the weights.
fn score_error(body: &Body, operands: &[Option<Value>]) -> f64 {
    let [node] = body.nodes() else { return 0.0 };
    let Op::Attention(op) = &node.op else { return 0.0 };
    let tensor = |index: usize| operands.get(index)?.as_ref()?.as_tensor();
    let (Some(q), Some(k)) = (tensor(0), tensor(1)) else { return 0.0 };
    let heads = |tensor: &Tensor, heads: Option<usize>| if tensor.rank() == 3 { heads.unwrap_or(1) } else { 1 };
    let longest = |tensor: &Tensor, heads: usize| {
        let size = (tensor.sizes().last().copied().unwrap_or(1) / heads.max(1)).max(1);
        let norm = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
        tensor.to_floats().chunks(size).map(norm).filter(|n| n.is_finite()).fold(0.0, f64::max)
    };
    let size = q.sizes().last().copied().unwrap_or(1) / heads(q, op.query_heads).max(1);
    let scale = op.scale.unwrap_or_else(|| 1.0 / (size.max(1) as f64).sqrt());
    8.0 * 2f64.powi(-24) * longest(q, heads(q, op.query_heads)) * longest(k, heads(k, op.key_heads)) * scale
}

/// Compares by the table in the head of this file; `wider` is added to the relative bound of floats.
fn agree(found: &Value, expected: &Value, rule: Rule, wider: f64) -> Result<(), String> {
    let Some(tensor) = expected.as_tensor() else {
        return compare(found, expected, Tolerance::ONNX).map_err(|e| e.to_string());
    };
    let data_type = tensor.data_type();
    if data_type.is_float() {
        let largest = Floats::of(tensor).largest();
        let tolerance = Tolerance { relative: 2e-4 + wider, absolute: (3e-5 + wider) * largest + 1e-30 };
        return compare(found, expected, tolerance).map_err(|e| e.to_string());
    }
    let exact = compare(found, expected, Tolerance::EXACT).map_err(|e| e.to_string());
    let is_number = data_type != DataType::String && data_type != DataType::Bool;
    match rule {
        Rule::Quantized if is_number => {
            let one = Tolerance { relative: 0.0, absolute: 1.0 };
            compare(found, expected, one).map_err(|e| e.to_string())
        }
        Rule::Float | Rule::OnlyQuantized if exact.is_err() && data_type != DataType::String => {
            let Some(found) = found.as_tensor().filter(|f| f.sizes() == tensor.sizes()) else { return exact };
            let differs = found.to_ints().into_iter().zip(tensor.to_ints()).filter(|(a, b)| a != b);
            let (mut count, mut worst) = (0usize, 0);
            for (a, b) in differs {
                count += 1;
                worst = worst.max(a.abs_diff(b));
            }
            if worst <= 1 && count * 1000 <= tensor.count() { Ok(()) } else { exact }
        }
        _ => exact,
    }
}

/// A step whose kernel does not agree.
pub(crate) struct Failure {
    pub(crate) tactic: String,
    pub(crate) region: Region,
    pub(crate) dropped: Dropped,
}

/// Holds every step of a draft against the judge; `network` is what the plan was made of.
pub(crate) fn check_steps(
    draft: &Draft,
    network: &Network,
    answers: &Answers,
    hints: &SizeHints,
    back_end: &dyn BackEnd,
    found: &mut Verification,
    progress: Progress<'_>,
) -> Vec<Failure> {
    let workers = back_end.workers(draft.plan.device.threads);
    let (values, seen) = (HashMap::new(), HashSet::new());
    let workers = &*workers;
    let mut checker = Checker { draft, back_end, workers, hints, batches: batches(network), values, seen };
    if let Err(reason) = checker.given_values(network, answers) {
        found.skipped = Some(reason);
        return Vec::new();
    }
    let mut last_use = HashMap::new();
    for (position, step) in draft.plan.graph.steps.iter().enumerate() {
        for id in step.inputs.iter().flatten() {
            last_use.insert(*id, position);
        }
    }
    let mut failures = Vec::new();
    (found.agreed, found.skipped) = (0, None);
    found.unverified.clear();
    for (position, step) in draft.plan.graph.steps.iter().enumerate() {
        let origin = step.origins.join(", ");
        progress.step(Stage::Verify, position, draft.plan.graph.steps.len());
        match checker.step(step) {
            Ok(()) => found.agreed += 1,
            Err(Trouble::Unverified(reason)) => found.unverified.push((origin, reason)),
            Err(Trouble::Disagrees { tactic, region, reason }) => {
                let dropped = Dropped { name: tactic.clone(), origin, reason };
                failures.push(Failure { tactic, region: *region, dropped });
            }
        }
        for id in step.inputs.iter().flatten().filter(|id| last_use.get(id) == Some(&position)) {
            checker.values.remove(id);
        }
    }
    failures
}

enum Trouble {
    Unverified(String),
    Disagrees { tactic: String, region: Box<Region>, reason: String },
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Trouble::Unverified(reason)
    }
}

struct Checker<'a> {
    draft: &'a Draft,
    back_end: &'a dyn BackEnd,
    workers: &'a dyn Workers,
    /// What the user knows of open sizes.
    hints: &'a SizeHints,
    /// Names of the sizes that count batches.
    batches: BTreeSet<String>,
    /// The judge's values, by value of the plan.
    values: HashMap<PlanValueId, Value>,
    /// Kernels and regions that were given fresh numbers: layers that are alike need them once.
    seen: HashSet<String>,
}

impl Checker<'_> {
    /// Inputs, and what control flow makes: its bodies are run by the judge, in the network that the plan was made of.
    fn given_values(&mut self, network: &Network, answers: &Answers) -> Result<(), String> {
        for input in &network.inputs {
            let default = || input.default.clone().map(Value::Tensor);
            let value = answers.inputs.get(&input.name).cloned().or_else(default);
            let value = value.ok_or_else(|| format!("input '{}' is not given", input.name))?;
            self.values.insert(PlanValueId::new(input.value.index()), value);
        }
        if network.body.nodes().iter().all(|node| node.op.bodies().is_empty()) {
            return Ok(());
        }
        let mut inputs = Vec::new();
        for id in network.body.inputs() {
            let weight = network.weights.iter().find(|w| w.value == *id);
            inputs.push(match weight {
                Some(weight) => Some(Value::Tensor(evaluate_weight(&weight.expr).map_err(|e| e.to_string())?)),
                None => self.values.get(&PlanValueId::new(id.index())).cloned(),
            });
        }
        let values = &mut self.values;
        let mut observe = |position: usize, results: &[Value]| {
            let node = &network.body.nodes()[position];
            if !node.op.bodies().is_empty() {
                for (id, value) in node.outputs.iter().zip(results) {
                    values.insert(PlanValueId::new(id.index()), value.clone());
                }
            }
        };
        let cx = EvalContext::new(&FastEvaluator);
        network.body.evaluate_with(inputs, &cx, &mut observe).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn value(&self, id: PlanValueId) -> Result<Value, String> {
        if let Some(pack) = self.draft.packs.get(&id) {
            let expression = &self.draft.expressions[pack.weight.index()];
            return evaluate_weight(expression).map(Value::Tensor).map_err(|e| e.to_string());
        }
        if let Some(Home::Weight(weight)) = self.draft.plan.graph.values.get(id.index()).map(|v| &v.home) {
            return Ok(Value::Tensor(self.draft.plan.weights[weight.index()].tensor.clone()));
        }
        self.values
            .get(&id)
            .cloned()
            .ok_or_else(|| "an operand was made by a step that could not be verified".to_owned())
    }

    fn step(&mut self, step: &Step) -> Result<(), Trouble> {
        if matches!(step.action, Action::Control { .. }) {
            // The judge ran the bodies, so that what reads their results can be verified.
            return Err("kernels inside the bodies of control flow are not verified".to_owned().into());
        }
        let mut operands = Vec::new();
        for id in &step.inputs {
            operands.push(id.map(|id| self.value(id)).transpose()?);
        }
        let expected = evaluate(step.region().body(), &operands)?;
        for (id, value) in step.outputs.iter().zip(&expected) {
            self.values.insert(*id, value.clone());
        }
        // Whether values were written where a step without a kernel finds them, the whole plan shows.
        let Action::Kernel { recipe, region, packed, .. } = &step.action else { return Ok(()) };
        let is_new = self.seen.insert(format!("{recipe:?}\n{}", problem_text(region)));
        let trial = |operands: &[Option<Value>], expected: &[Value]| -> Result<(), Trouble> {
            let disagrees =
                |reason| Trouble::Disagrees { tactic: recipe.tactic.clone(), region: Box::new(region.clone()), reason };
            let found = self.launch(step, region, packed, operands).map_err(disagrees)?;
            products::check(region.body(), operands, &found, expected).map_err(disagrees)?;
            let (rule, wider) = (rule_of(region.body()), score_error(region.body(), operands));
            for (found, expected) in found.iter().zip(expected) {
                agree(found, expected, rule, wider).map_err(disagrees)?;
            }
            Ok(())
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
        let Some(fresh) = self.fresh(step, &operands, &types) else { return Ok(()) };
        let Ok(expected) = evaluate(region.body(), &fresh) else { return Ok(()) };
        trial(&fresh, &expected)?;
        if let Some(small) = trials::has_epsilon(region.body()).then(|| trials::small(&fresh)).flatten() {
            let expected = evaluate(region.body(), &small)?;
            trial(&small, &expected)?;
        }
        let Some(types) =
            points::other_sizes(region, &|name, free| self.hints.near(name, free.of(name, &self.batches)))
        else {
            return Ok(());
        };
        let Some(fresh) = self.fresh(step, &operands, &types) else { return Ok(()) };
        let Ok(expected) = evaluate(region.body(), &fresh) else { return Ok(()) };
        trial(&fresh, &expected)
    }

    /// Fresh numbers for operands of these types, when all that are no weights are floats; a type for each that is there.
    fn fresh(&self, step: &Step, operands: &[Option<Value>], types: &[ValueType]) -> Option<Vec<Option<Value>>> {
        let is_weight = |id: &PlanValueId| {
            matches!(self.draft.plan.graph.values.get(id.index()).map(|v| &v.home), Some(Home::Weight(_)))
        };
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
        step: &Step,
        region: &Region,
        packed: &[usize],
        operands: &[Option<Value>],
    ) -> Result<Vec<Value>, String> {
        let Action::Kernel { recipe, .. } = &step.action else { return Err("no kernel".to_owned()) };
        let tactic = self.back_end.tactic(&recipe.tactic).ok_or_else(|| format!("{} is gone", recipe.tactic))?;
        let text = |e: KernelError| e.to_string();
        let kernel = match tactic.load(recipe, region, &self.draft.plan.device).map_err(text)? {
            Loaded::Values(kernel) => return kernel.run(operands).map_err(text),
            Loaded::Views(kernel) => kernel,
        };
        let mut tensors = Vec::new();
        for (position, (value, id)) in operands.iter().zip(&step.inputs).enumerate() {
            let tensor = match (packed.contains(&position), id) {
                (true, Some(id)) => match self.draft.plan.graph.values.get(id.index()).map(|v| &v.home) {
                    Some(Home::Weight(weight)) => Some(self.draft.plan.weights[weight.index()].tensor.clone()),
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
        let workspace = self.workspace(step, region, &types)?;
        launch_once(&*kernel, &results, &tensors, workspace, self.workers).map_err(text)
    }

    /// Scratch memory for these operands: the tactic's own figure, for the region at these sizes.
    fn workspace(&self, step: &Step, region: &Region, types: &[ValueType]) -> Result<usize, String> {
        let Action::Kernel { recipe, workspace: Some(_), .. } = &step.action else { return Ok(0) };
        let concrete = at_sizes(region, types).ok_or("the region has open sizes")?;
        let tactic = self.back_end.tactic(&recipe.tactic).ok_or_else(|| format!("{} is gone", recipe.tactic))?;
        let constants = (0..types.len()).collect();
        let concrete = concrete.with_constants(constants);
        let offered = tactic.offer(&concrete, &self.draft.plan.device).map_err(|refusal| refusal.to_string())?;
        let candidate =
            offered.iter().find(|c| c.recipe == *recipe).ok_or("the recipe is not offered at these sizes")?;
        let bytes = candidate.workspace.as_constant().and_then(|bytes| usize::try_from(bytes).ok());
        bytes.ok_or_else(|| "scratch memory of open size".to_owned())
    }
}

/// An evenly distributed number of variance 1: splitmix64 (Steele, Lea, Flood 2014) at a position of a stream.
fn unit_variance(stream: u64, index: u64) -> f64 {
    let mut z = (stream << 48 ^ index).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
    (2.0 * unit - 1.0) * 3f64.sqrt()
}

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

fn shown_type(value: &Value) -> ValueType {
    match value.as_tensor() {
        Some(tensor) if tensor.count() > MAX_SHOWN => TensorType::new(tensor.data_type(), tensor.sizes().into()).into(),
        _ => value.value_type(),
    }
}

/// A region's own meaning.
fn evaluate(body: &Body, operands: &[Option<Value>]) -> Result<Vec<Value>, String> {
    // A single operator's operands that are left out are no inputs of the body.
    let given: Vec<Option<Value>> = operands.iter().filter(|value| value.is_some()).cloned().collect();
    body.evaluate(given, &EvalContext::new(&FastEvaluator)).map_err(|e| e.to_string())
}

/// Known answers that travel with the plan.
pub(crate) fn seal(plan: &Plan, network: &Network, answers: &Answers) -> Option<Sealed> {
    let mut inputs = Vec::new();
    let mut bytes = 0;
    for port in &plan.inputs {
        let default = || network.inputs.iter().find(|i| i.name == port.name)?.default.clone().map(Value::Tensor);
        let value = answers.inputs.get(&port.name).cloned().or_else(default)?;
        let tensor = value.as_tensor().filter(|t| t.data_type() != DataType::String)?.clone();
        bytes += tensor.bytes().len();
        inputs.push(SealedInput::Stored(tensor));
    }
    let bound = whole::bound_of(network);
    let outputs: Option<Vec<SealedOutput>> =
        answers.outputs.iter().map(|output| SealedOutput::of(output.as_tensor()?, bound)).collect();
    (bytes <= MAX_SEALED).then(|| Some(Sealed { vectors: vec![SealedVector { inputs, outputs: outputs? }] }))?
}

/// Drops what failed; false when there is nothing to drop.
pub(crate) fn ban(failures: Vec<Failure>, evidence: &mut Evidence, found: &mut Verification) -> bool {
    let any = !failures.is_empty();
    for failure in failures {
        evidence.ban(failure.tactic, &failure.region);
        found.dropped.push(failure.dropped);
    }
    any
}
