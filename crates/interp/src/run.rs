//! Running a network as it was imported, with named inputs.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::{Dim, Tensor, Value, ValueType};
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, ReferenceEvaluator};

use crate::inputs::sizes_of;

/// A run that could not be done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// An input that the network needs was not given.
    #[error("input '{name}' ({ty}) is not given")]
    MissingInput {
        /// Its name.
        name: String,
        /// Its declared type.
        ty: String,
    },
    /// An input was given that the network does not have.
    #[error("the network has no input '{name}'; it has {known}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// The names known.
        known: String,
    },
    /// An input of another type than declared.
    #[error("input '{name}' must be {expected}, found {found}")]
    InputType {
        /// Its name.
        name: String,
        /// Its declared type.
        expected: String,
        /// The type given.
        found: String,
    },
    /// Sizes of inputs that do not go together.
    #[error("{reason}: {left} against {right}")]
    Sizes {
        /// The condition of the network.
        reason: String,
        /// One side of the condition.
        left: i64,
        /// The other side.
        right: i64,
    },
    /// An operator failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// The tensor of a weight.
///
/// # Errors
/// When an operator of the expression fails.
pub fn evaluate_weight(expr: &WeightExpr) -> Result<Tensor, EvalError> {
    evaluate_once(expr, &mut HashMap::new())
}

/// As [`evaluate_weight`], but computes shared subexpressions once.
fn evaluate_once(expr: &WeightExpr, known: &mut HashMap<*const WeightExpr, Tensor>) -> Result<Tensor, EvalError> {
    match expr {
        WeightExpr::Source { tensor, .. } => Ok(tensor.clone()),
        WeightExpr::Apply { op, inputs, output } => {
            let mut operand = |input: &Arc<WeightExpr>| -> Result<Value, EvalError> {
                if let Some(tensor) = known.get(&Arc::as_ptr(input)) {
                    return Ok(Value::Tensor(tensor.clone()));
                }
                let tensor = evaluate_once(input, known)?;
                if Arc::strong_count(input) > 1 {
                    known.insert(Arc::as_ptr(input), tensor.clone());
                }
                Ok(Value::Tensor(tensor))
            };
            let values =
                inputs.iter().map(|i| i.as_ref().map(&mut operand).transpose()).collect::<Result<Vec<_>, _>>()?;
            let results = op.reference(&Arguments::new(&values), &EvalContext::new(&ReferenceEvaluator))?;
            let result = results.get(*output).and_then(Value::as_tensor).cloned();
            result.ok_or_else(|| EvalError::Invalid(format!("{} has no tensor result {output}", op.name())))
        }
    }
}

/// Element types, ranks and fixed sizes of a value against a declared type.
fn fits(value: &Value, declared: &ValueType) -> bool {
    match (value, declared) {
        (Value::Tensor(tensor), ValueType::Tensor(ty)) => {
            let sizes_fit = ty.dims().map_or(true, |dims| {
                dims.len() == tensor.rank()
                    && dims.iter().zip(tensor.sizes()).all(|(dim, &size)| {
                        dim.as_constant().is_none_or(|d| usize::try_from(d).is_ok_and(|d| d == size))
                    })
            });
            tensor.data_type() == ty.data_type && sizes_fit
        }
        (Value::Sequence { items, .. }, ValueType::Sequence(element)) => items.iter().all(|i| fits(i, element)),
        (Value::Optional { item, .. }, ValueType::Optional(element)) => item.iter().all(|i| fits(i, element)),
        _ => false,
    }
}

/// Checks the conditions on sizes that the inputs decide.
fn check_guards(network: &Network, inputs: &HashMap<String, Value>) -> Result<(), RunError> {
    let sizes = sizes_of(network, inputs);
    let value = |dim: &Dim| dim.evaluate(&|name| sizes.get(name).copied());
    for guard in &network.guards {
        if let (Some(left), Some(right)) = (value(&guard.left), value(&guard.right))
            && left != right
        {
            return Err(RunError::Sizes { reason: guard.reason.clone(), left, right });
        }
    }
    Ok(())
}

/// Runs the network on named inputs and returns its outputs in order.
///
/// # Errors
/// When inputs are missing, unknown or of wrong types, or an operator fails.
pub fn run(network: &Network, inputs: &HashMap<String, Value>) -> Result<Vec<Value>, RunError> {
    run_with(network, inputs, &ReferenceEvaluator)
}

/// As [`run`], with another evaluator.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    network: &Network,
    inputs: &HashMap<String, Value>,
    evaluator: &dyn Evaluator,
) -> Result<Vec<Value>, RunError> {
    run_within(network, inputs, &EvalContext::new(evaluator))
}

/// As [`run_with`], within the bound on memory of a context. Inputs and weights are the caller's.
///
/// # Errors
/// As [`run`], and when values need more memory than allowed.
pub fn run_within(
    network: &Network,
    inputs: &HashMap<String, Value>,
    cx: &EvalContext<'_>,
) -> Result<Vec<Value>, RunError> {
    run_observed(network, inputs, cx, &mut |_, _| {})
}

/// As [`run_within`], and calls `observe` with the results of every node of the outermost body, by the position of the
/// node.
///
/// # Errors
/// As [`run_within`].
pub fn run_observed(
    network: &Network,
    inputs: &HashMap<String, Value>,
    cx: &EvalContext<'_>,
    observe: &mut dyn FnMut(usize, &[Value]),
) -> Result<Vec<Value>, RunError> {
    if let Some(name) = inputs.keys().find(|name| !network.inputs.iter().any(|i| i.name == **name)) {
        let known: Vec<&str> = network.inputs.iter().map(|i| i.name.as_str()).collect();
        return Err(RunError::UnknownInput { name: name.clone(), known: known.join(", ") });
    }
    let mut given = HashMap::new();
    for input in &network.inputs {
        let ty = network.body.ty(input.value);
        let value = match (inputs.get(&input.name), &input.default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => Value::Tensor(default.clone()),
            (None, None) => {
                return Err(RunError::MissingInput { name: input.name.clone(), ty: ty.to_string() });
            }
        };
        if !fits(&value, ty) {
            let found = value.value_type().to_string();
            return Err(RunError::InputType { name: input.name.clone(), expected: ty.to_string(), found });
        }
        given.insert(input.value, value);
    }
    check_guards(network, inputs)?;
    for weight in &network.weights {
        given.insert(weight.value, Value::Tensor(evaluate_weight(&weight.expr)?));
    }
    let arguments = network.body.inputs().iter().map(|id| given.remove(id)).collect();
    Ok(network.body.evaluate_with(arguments, cx, observe)?)
}
