//! Refit: a plan with other weights. It evaluates the expressions of a refittable plan on new tensors of the model and packs
//! the results as the plan's kernels read them; steps and kernels stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use sinter_backend::BackEnd;
use sinter_backend::panic::caught;
use sinter_base::{Tensor, TensorType, one_line};
use sinter_interp::evaluate_weight;
use sinter_ir::WeightExpr;
use sinter_ops::{EvalError, ValueId};
use sinter_plan::report::Unverified;
use sinter_plan::{Plan, PlanWeight, WeightExpression, WeightSource};

use crate::memory_budget::{MemoryError, WeightBudget};

/// A tensor that cannot be refitted as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefitProblem {
    /// No weight of the plan depends on a tensor of this name, or the structure of the network does.
    Unknown {
        /// The name given.
        name: String,
    },
    /// The tensor has another type.
    Type {
        /// Its name.
        name: String,
        /// The type that the plan needs.
        expected: String,
        /// The type given.
        found: String,
    },
    /// A weight depends on a given tensor and on this one, which is not given.
    Missing {
        /// The tensor that is not given.
        name: String,
        /// A given tensor that is computed together with it.
        with: String,
    },
}

/// A failed refit; the plan is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RefitError {
    /// The plan has no weight expressions.
    #[error("the plan has no refittable weights: it was not built to be refittable, or the model has no such weights")]
    NotRefittable,
    /// All tensors that are wrong.
    #[error("{}", listed(.0))]
    Tensors(Vec<RefitProblem>),
    /// A packed weight belongs to a kernel that this program lacks.
    #[error("no kernel '{0}' in this program packs the weight")]
    Tactic(String),
    /// A weight could not be computed.
    #[error("weight '{}': {source}", one_line(name))]
    Weight {
        /// Its name.
        name: String,
        /// Why.
        source: EvalError,
    },
    /// More memory than allowed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl fmt::Display for RefitProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "no weight of the plan depends on a tensor '{}'", one_line(name)),
            Self::Type { name, expected, found } => {
                write!(f, "tensor '{}' is {found}, the plan needs {expected}", one_line(name))
            }
            Self::Missing { name, with } => {
                write!(f, "tensor '{}' is missing: it is computed together with '{}'", one_line(name), one_line(with))
            }
        }
    }
}

fn listed(problems: &[RefitProblem]) -> String {
    problems.iter().map(RefitProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// The tensors that a refit may replace: name and type, by name.
pub fn refittable_tensors(plan: &Plan) -> BTreeMap<&str, &TensorType> {
    plan.expressions.iter().flat_map(WeightExpression::named_sources).collect()
}

/// The plan with other tensors, by their names in the model. Tensors that are not given stay as they are. The new plan has
/// no self-test vectors, and its report says that its weights are not verified.
///
/// # Errors
/// When the plan is not refittable, tensors are unknown, of another type or missing (all of them at once), or a weight
/// cannot be computed.
pub fn refit(
    plan: &Plan,
    tensors: &HashMap<String, Tensor>,
    back_ends: &[&dyn BackEnd],
    max_memory: u64,
) -> Result<Plan, RefitError> {
    if plan.expressions.is_empty() {
        return Err(RefitError::NotRefittable);
    }
    let problems = problems(plan, tensors);
    if !problems.is_empty() {
        return Err(RefitError::Tensors(problems));
    }
    let packed = plan.packed_weights();
    let mut budget = WeightBudget::new(max_memory);
    let mut refitted = plan.clone();
    let is_given = |(name, _): (&str, &TensorType)| tensors.contains_key(name);
    for expression in plan.expressions.iter().filter(|expression| expression.named_sources().any(is_given)) {
        let slot = &mut refitted.weights[expression.weight.index()];
        let failed = |source| RefitError::Weight { name: slot.name.clone(), source };
        let computed = computation(plan, expression, tensors).map_err(failed)?;
        let pack = packed.get(&expression.weight);
        budget.take(&computed, pack.is_some())?;
        let mut tensor = evaluate_weight(&computed).map_err(failed)?;
        if let Some(pack) = pack {
            let name = &pack.recipe.tactic;
            let tactic = back_ends.iter().find_map(|back_end| back_end.tactic(name));
            let tactic = tactic.ok_or_else(|| RefitError::Tactic(name.clone()))?;
            // The plan may come from anywhere, and its recipe may suit no kernel.
            let packed = caught(name, || tactic.pack(pack.recipe, pack.region, pack.operand, &tensor));
            tensor = packed.map_err(|error| failed(EvalError::Invalid(error.to_string())))?;
        }
        let old = slot.tensor();
        if (tensor.data_type(), tensor.sizes()) != (old.data_type(), old.sizes()) {
            let (new, old) = (TensorType::of(&tensor), TensorType::of(old));
            return Err(failed(EvalError::Invalid(format!("it becomes {new}, the plan has {old}"))));
        }
        *slot = PlanWeight::new(slot.name.clone(), tensor);
    }
    refitted.self_test = None;
    if let Some(report) = &mut refitted.report {
        let mut names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        let reason = "a refit replaced them after the build".to_owned();
        let origin = format!("weights of the tensors {}", names.join(", "));
        report.verification.unverified.push(Unverified { origin, reason });
    }
    Ok(refitted)
}

/// All tensors that do not suit the plan.
fn problems(plan: &Plan, tensors: &HashMap<String, Tensor>) -> Vec<RefitProblem> {
    let known = refittable_tensors(plan);
    let given: BTreeMap<&String, &Tensor> = tensors.iter().collect();
    let mut problems = Vec::new();
    for (&name, tensor) in &given {
        let found = TensorType::new(tensor.data_type(), tensor.sizes().into());
        match known.get(name.as_str()) {
            None => problems.push(RefitProblem::Unknown { name: name.clone() }),
            Some(expected) if **expected == found => {}
            Some(expected) => {
                let (expected, found) = (expected.to_string(), found.to_string());
                problems.push(RefitProblem::Type { name: name.clone(), expected, found });
            }
        }
    }
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    for expression in &plan.expressions {
        let names: Vec<&str> = expression.named_sources().map(|(name, _)| name).collect();
        let Some(with) = names.iter().find(|name| tensors.contains_key(**name)) else { continue };
        for name in names.iter().filter(|name| !tensors.contains_key(**name)) {
            if missing.insert(name) {
                let (name, with) = ((*name).to_owned(), (*with).to_owned());
                problems.push(RefitProblem::Missing { name, with });
            }
        }
    }
    problems
}

/// The expression with its sources.
fn computation(
    plan: &Plan,
    expression: &WeightExpression,
    tensors: &HashMap<String, Tensor>,
) -> Result<Arc<WeightExpr>, EvalError> {
    let WeightExpression { body, sources, .. } = expression;
    let missing = || EvalError::Invalid("an operand that nothing computes".to_owned());
    let mut values: HashMap<ValueId, Arc<WeightExpr>> = HashMap::new();
    for (source, input) in sources.iter().zip(body.inputs()) {
        let tensor = match source {
            WeightSource::Named(name) => tensors.get(name),
            WeightSource::Constant(weight) => plan.weights.get(weight.index()).map(PlanWeight::tensor),
        };
        values.insert(*input, Arc::new(WeightExpr::source("", tensor.ok_or_else(missing)?.clone())));
    }
    for node in body.nodes() {
        let operand = |id: &Option<ValueId>| id.map(|id| values.get(&id).cloned().ok_or_else(missing)).transpose();
        let inputs = node.inputs.iter().map(operand).collect::<Result<Vec<_>, _>>()?;
        for (output, id) in node.outputs.iter().enumerate() {
            let apply = WeightExpr::Apply { op: node.op.clone(), inputs: inputs.clone(), output };
            values.insert(*id, Arc::new(apply));
        }
    }
    let result = body.outputs().first().and_then(|id| values.remove(id));
    result.ok_or_else(missing)
}
