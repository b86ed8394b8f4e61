//! Common parts of operators with bodies: effects and cost of bodies, conditions, and the results of iterations.

use std::sync::Arc;

use sinter_base::{DataType, Dim, Tensor, TensorType, Truth, Value, ValueType};
use smallvec::SmallVec;

use crate::body::Body;
use crate::catalog::Op;
use crate::control::names::{Source, result_types};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::infer::InferContext;
use crate::invalid;
use crate::known::known_type;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects};
use crate::sequence::combine;

/// Effects of everything inside.
pub fn effects<'a>(bodies: impl IntoIterator<Item = &'a Arc<Body>>) -> Effects {
    let mut all = Effects::NONE;
    for node in bodies.into_iter().flat_map(|body| body.nodes()) {
        let own = node.op.effects();
        all = Effects { random: all.random || own.random, asserts: all.asserts || own.asserts };
    }
    all
}

/// Cost of running a body so many times.
pub fn cost(body: &Body, times: &Dim) -> Cost {
    let mut total = Cost { operations: Dim::constant(0), bytes: Dim::constant(0) };
    for node in body.nodes() {
        let inputs: SmallVec<[Option<&ValueType>; 4]> = node.inputs.iter().map(|i| i.map(|i| body.ty(i))).collect();
        let outputs: Vec<ValueType> = node.outputs.iter().map(|o| body.ty(*o).clone()).collect();
        let own = node.op.cost(&Operands::new(&inputs), &outputs);
        total = Cost { operations: total.operations.add(&own.operations), bytes: total.bytes.add(&own.bytes) };
    }
    Cost { operations: total.operations.mul(times), bytes: total.bytes.mul(times) }
}

/// Checks that an input is a condition: one bool.
///
/// # Errors
/// When it is something else.
pub fn check_condition(inputs: &Operands<'_>, index: usize) -> Result<(), InferError> {
    inputs.data_type_where(index, "bool", |t| t == DataType::Bool)?;
    let count = inputs.tensor(index)?.shape.count().ok().and_then(|c| c.as_constant());
    if let Some(count) = count.filter(|c| *c != 1) {
        invalid!("a condition has one element, found {count}");
    }
    Ok(())
}

/// The truth of a condition.
///
/// # Errors
/// When the value is no tensor of one bool.
pub fn condition(value: &Value) -> Result<bool, EvalError> {
    match value.as_tensor().map(|t| (t.data_type(), t.to_bools())) {
        Some((DataType::Bool, truths)) if truths.len() == 1 => Ok(truths[0]),
        _ => invalid!(eval: "a condition must be one bool, found {}", value.value_type()),
    }
}

/// The context of one iteration: random operators draw different numbers in each.
pub fn iteration<'a>(cx: &EvalContext<'a>, number: usize) -> EvalContext<'a> {
    EvalContext {
        iteration: cx.iteration.wrapping_mul(0x100_0000_01b3) ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        ..*cx
    }
}

/// The inputs of a body: what the operator feeds, then the captured values.
pub fn body_inputs(fed: Vec<Option<Value>>, inputs: &Arguments<'_>, first_capture: usize) -> Vec<Option<Value>> {
    let captures = inputs.all().get(first_capture..).unwrap_or_default();
    fed.into_iter().chain(captures.iter().cloned()).collect()
}

/// For each body of an operator, its captured values: the first input of the body that is one, and the operator's input
/// that it is. The others follow in order, up to the last input of the body.
pub fn captures(op: &Op) -> Vec<(usize, usize)> {
    match op {
        Op::If(op) => vec![(0, 1), (0, 1 + op.then_branch.inputs().len())],
        Op::Loop(op) => vec![(2 + op.carried, 2 + op.carried)],
        Op::Scan(op) => vec![(op.states + op.inputs.len(), op.states + op.inputs.len())],
        _ => Vec::new(),
    }
}

/// Checks that the types of an operator's inputs are as many as its body needs.
///
/// # Errors
/// When they are not.
pub fn check_count(body: &Body, fed: usize, captures: usize, outputs: usize) -> Result<(), InferError> {
    if body.inputs().len() != fed + captures {
        invalid!("a body of {} inputs gets {fed} and {captures} captured ones", body.inputs().len());
    }
    if body.outputs().len() < outputs {
        invalid!("a body of {} results should have at least {outputs}", body.outputs().len());
    }
    Ok(())
}

/// Checks that what is fed to the inputs of a body from `first` on fits their types; the operator's inputs from `index`
/// on are fed.
///
/// # Errors
/// When kinds, element types or ranks differ, or sizes contradict each other.
pub fn check_fed(body: &Body, first: usize, inputs: &Operands<'_>, index: usize) -> Result<(), InferError> {
    let declared = body.inputs().get(first..).unwrap_or_default();
    for (offset, id) in declared.iter().enumerate() {
        let (declared, fed) = (body.ty(*id), inputs.value(index + offset)?);
        if !admits(declared, fed) {
            invalid!("input {} must be {declared}, found {fed}", index + offset);
        }
    }
    Ok(())
}

/// Is a value of the type `found` valid where the type `declared` is required?
pub fn admits(declared: &ValueType, found: &ValueType) -> bool {
    match (declared, found) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) => {
            let fits = match (a.dims(), b.dims()) {
                (Ok(x), Ok(y)) => x.len() == y.len() && x.iter().zip(y).all(|(p, q)| p.equals(q) != Truth::No),
                _ => true,
            };
            a.data_type == b.data_type && fits
        }
        (ValueType::Sequence(a), ValueType::Sequence(b)) | (ValueType::Optional(a), ValueType::Optional(b)) => {
            admits(a, b)
        }
        _ => false,
    }
}

/// The types of a body's results outside of it, for stacks; `sources` are those of its inputs. They matter only where no
/// iteration made a result.
pub fn types_of_results(
    body: &Body,
    iterations: usize,
    inputs: &Arguments<'_>,
    sources: impl Fn(&Operands<'_>) -> Vec<Source>,
) -> Vec<ValueType> {
    if iterations > 0 {
        return body.output_types();
    }
    let types: Vec<Option<ValueType>> = inputs.all().iter().map(|value| value.as_ref().map(known_type)).collect();
    let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    result_types(body, &sources(&Operands::new(&types)), &mut InferContext::default())
}

/// One result per iteration, stacked along a new axis. Without iterations the sizes come from the result's type outside of
/// the body ([`crate::control::names`]), with 0 for dynamic dimensions.
///
/// # Errors
/// When the results are no tensors of one shape.
pub fn stacked(per_iteration: &[Value], ty: &ValueType, axis: i64) -> Result<Tensor, EvalError> {
    let tensors: Option<Vec<&Tensor>> = per_iteration.iter().map(Value::as_tensor).collect();
    let Some(tensors) = tensors else { invalid!(eval: "only tensors can be stacked, found {ty}") };
    if let Some(first) = tensors.first() {
        let position = crate::axes::axis_of(axis, first.rank() + 1)?;
        return combine::stack(&tensors, position);
    }
    let Some(element) = ty.as_tensor() else { invalid!(eval: "only tensors can be stacked, found {ty}") };
    let open = |dim: &Dim| dim.as_constant().and_then(|d| usize::try_from(d).ok()).unwrap_or(0);
    let mut sizes: Vec<usize> = element.dims().map(|dims| dims.iter().map(open).collect()).unwrap_or_default();
    let position = crate::axes::axis_of(axis, sizes.len() + 1)?;
    sizes.insert(position, 0);
    combine::zeros(element.data_type, &sizes)
}

/// The type of per-iteration results stacked along a new axis.
///
/// # Errors
/// When the result is no tensor or the axis does not exist.
pub fn stacked_type(ty: &ValueType, count: &Dim, axis: i64) -> Result<ValueType, InferError> {
    let ValueType::Tensor(element) = ty else { invalid!("only tensors can be stacked, found {ty}") };
    let Ok(dims) = element.dims() else { return Ok(ValueType::unranked(element.data_type)) };
    let mut dims = dims.to_vec();
    let position = crate::axes::axis_of(axis, dims.len() + 1)?;
    dims.insert(position, count.clone());
    Ok(TensorType::ranked(element.data_type, dims).into())
}
