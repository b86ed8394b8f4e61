//! If-1..25, Loop-1..25, Scan-8, Scan-9..25.

use sinter_base::{DataType, Dim, KnownValue, TensorType, ValueType};
use sinter_ir::Handle;
use sinter_ops::control::scan::Walk;
use sinter_ops::control::{If, Loop, Scan};
use sinter_ops::sequence::{OptionalConstruct, OptionalElement, OptionalGetElement};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::carried::{body, stable_body, with_captures};

/// If: a condition known at build time brings only its own branch into the network; the other may be invalid for the
/// shapes at hand.
pub fn if_else(cx: &mut NodeContext<'_, '_>) -> Imported {
    let condition = cx.input(0)?;
    match cx.constant_ints(condition).as_deref() {
        Some([0]) => return cx.inline_subgraph("else_branch", &[]),
        Some([_]) => return cx.inline_subgraph("then_branch", &[]),
        _ => {}
    }
    // Problems of both are reported.
    let (then_branch, else_branch) = (cx.subgraph("then_branch", &[]), cx.subgraph("else_branch", &[]));
    let (then_branch, else_branch) = (then_branch?, else_branch?);
    let inputs: Vec<Handle> = [condition].into_iter().chain(then_branch.captures).chain(else_branch.captures).collect();
    cx.add_all(If { then_branch: then_branch.body, else_branch: else_branch.body }, &inputs)
}

/// Type of a condition inside the body that it guards: it holds there.
fn holding_condition() -> ValueType {
    TensorType::ranked(DataType::Bool, Vec::new()).with_value(KnownValue::Ints(vec![Dim::constant(1)])).into()
}

/// Loop.
pub fn loop_while(cx: &mut NodeContext<'_, '_>) -> Imported {
    let initial = cx.inputs_from(2)?;
    let (count, condition) = (cx.optional(0), cx.optional(1));
    let mut types = vec![ValueType::tensor(DataType::I64, Vec::new()), holding_condition()];
    types.extend(initial.iter().map(|h| cx.ty(*h).clone()));
    let carried = 2..2 + initial.len();
    // A value may start as an optional and become its contained value: the loop carries it as an optional.
    let mut wrapped = vec![false; initial.len()];
    let scoped = stable_body(cx, &types, carried, 1, &mut |cx, inputs| {
        let mut results = cx.inline_subgraph("body", inputs)?;
        let carried = inputs.iter().skip(2).zip(results.iter_mut().skip(1)).zip(&mut wrapped);
        for ((input, result), wrapped) in carried {
            if let (ValueType::Optional(_), Some(element)) = (cx.ty(*input), OptionalElement::of(cx.ty(*result))) {
                *result = cx.add(OptionalConstruct { element }, &[*result])?;
                *wrapped = true;
            }
        }
        Ok(results)
    })?;
    let op = Loop { carried: initial.len(), body: scoped.body.clone() };
    let fed = [count, condition].into_iter().chain(initial.into_iter().map(Some)).collect();
    let mut results = cx.add_optional(op, &with_captures(fed, &scoped))?;
    for (result, wrapped) in results.iter_mut().zip(wrapped) {
        if wrapped {
            *result = cx.add(OptionalGetElement {}, &[*result])?;
        }
    }
    Ok(results)
}

/// An attribute with one entry per scanned value, `default` where it is not given.
fn per_value(cx: &NodeContext<'_, '_>, name: &str, count: usize) -> Result<Vec<i64>, Problem> {
    match cx.ints(name) {
        None => Ok(vec![0; count]),
        Some(values) if values.len() == count => Ok(values),
        Some(values) => Err(cx.problem(format!("attribute {name} has {} entries for {count} values", values.len()))),
    }
}

fn walks(cx: &NodeContext<'_, '_>, axes: Vec<i64>, directions: Vec<i64>) -> Result<Vec<Walk>, Problem> {
    let walk = |(axis, direction)| match direction {
        0 | 1 => Ok(Walk { axis, reverse: direction == 1 }),
        other => Err(cx.problem(format!("scan direction {other} is neither 0 nor 1"))),
    };
    axes.into_iter().zip(directions).map(walk).collect()
}

/// Type of one slice of a walked tensor.
fn slice_type(cx: &NodeContext<'_, '_>, value: Handle, axis: i64) -> Result<ValueType, Problem> {
    let tensor = cx.tensor_type(value)?;
    let (data_type, dims) = (tensor.data_type, tensor.dims().map(<[Dim]>::to_vec));
    let Ok(mut dims) = dims else { return Ok(ValueType::unranked(data_type)) };
    dims.remove(cx.axis(axis, dims.len())?);
    Ok(ValueType::tensor(data_type, dims))
}

/// Adds a scan over these values, its body the node's subgraph.
fn scan(
    cx: &mut NodeContext<'_, '_>,
    states: &[Handle],
    walked: &[Handle],
    inputs: Vec<Walk>,
    outputs: Vec<Walk>,
) -> Imported {
    let mut types: Vec<ValueType> = states.iter().map(|h| cx.ty(*h).clone()).collect();
    for (value, walk) in walked.iter().zip(&inputs) {
        types.push(slice_type(cx, *value, walk.axis)?);
    }
    let carried = 0..states.len();
    let scoped = stable_body(cx, &types, carried, 0, &mut |cx, values| cx.inline_subgraph("body", values))?;
    let op = Scan { states: states.len(), inputs, outputs, body: scoped.body.clone() };
    let fed = states.iter().chain(walked).copied().map(Some).collect();
    cx.add_optional(op, &with_captures(fed, &scoped))
}

/// Numbers of states, walked inputs and stacked outputs for so many values.
fn counts(cx: &NodeContext<'_, '_>, values: usize) -> Result<(usize, usize, usize), Problem> {
    let walked = usize::try_from(cx.int("num_scan_inputs", 0)).ok().filter(|n| *n > 0 && *n <= values);
    let Some(walked) = walked else {
        let given = cx.int("num_scan_inputs", 0);
        return Err(cx.problem(format!("num_scan_inputs is {given}, the node has {values} values to feed")));
    };
    let Some((_, results)) = cx.graph_arity("body") else { return Err(cx.problem("attribute body is missing")) };
    let states = values - walked;
    match results.checked_sub(states) {
        Some(stacked) => Ok((states, walked, stacked)),
        None => Err(cx.problem(format!("the body has {results} results for {states} states"))),
    }
}

/// Scan from version 9 on.
pub fn scan_9(cx: &mut NodeContext<'_, '_>) -> Imported {
    let values = cx.inputs_from(0)?;
    let (states, walked, stacked) = counts(cx, values.len())?;
    let axes = per_value(cx, "scan_input_axes", walked)?;
    let inputs = walks(cx, axes, per_value(cx, "scan_input_directions", walked)?)?;
    let axes = per_value(cx, "scan_output_axes", stacked)?;
    let outputs = walks(cx, axes, per_value(cx, "scan_output_directions", stacked)?)?;
    let (first, rest) = values.split_at_checked(states).unwrap_or_default();
    scan(cx, first, rest, inputs, outputs)
}

/// Scan-8: every value has a batch axis in front. One scan over the batch, without states, around one over the steps.
pub fn scan_8(cx: &mut NodeContext<'_, '_>) -> Imported {
    if cx.optional(0).is_some() {
        return Err(cx.problem("Scan of version 8 with sequence_lens is not supported; version 9 has no such input"));
    }
    let values = cx.inputs_from(1)?;
    let (states, walked, stacked) = counts(cx, values.len())?;
    let inputs = walks(cx, vec![0; walked], per_value(cx, "directions", walked)?)?;
    let outputs = vec![Walk::default(); stacked];
    let types = values.iter().map(|h| slice_type(cx, *h, 0)).collect::<Result<Vec<_>, _>>()?;
    let scoped = body(cx, &types, &mut |cx, slices| {
        let (first, rest) = slices.split_at_checked(states).unwrap_or_default();
        scan(cx, first, rest, inputs.clone(), outputs.clone())
    })?;
    let batch = |count| vec![Walk::default(); count];
    let op =
        Scan { states: 0, inputs: batch(values.len()), outputs: batch(states + stacked), body: scoped.body.clone() };
    let fed = values.into_iter().map(Some).collect();
    cx.add_optional(op, &with_captures(fed, &scoped))
}
