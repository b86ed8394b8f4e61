//! SequenceConstruct-11, SequenceEmpty-11, SequenceInsert-11, SequenceErase-11, SequenceAt-11, SequenceLength-11,
//! ConcatFromSequence-11, SplitToSequence-11..24, SequenceMap-17, Optional-15, OptionalHasElement-15..18,
//! OptionalGetElement-15..18.

use sinter_base::{DataType, Tensor, ValueType};
use sinter_ir::Handle;
use sinter_ops::control::Loop;
use sinter_ops::sequence::{
    ConcatFromSequence, OptionalConstruct, OptionalElement, OptionalGetElement, OptionalHasElement, SequenceAt,
    SequenceConstruct, SequenceErase, SequenceInsert, SequenceLength, SplitToSequence,
};

use crate::context::{Imported, NodeContext};
use crate::ops::carried::{stable_body, with_captures};

/// SequenceConstruct.
pub fn sequence_construct(cx: &mut NodeContext<'_, '_>) -> Imported {
    let inputs = cx.inputs_from(0)?;
    let first = cx.input(0)?;
    let data_type = cx.data_type(first)?;
    cx.add_all(SequenceConstruct { data_type }, &inputs)
}

/// SequenceEmpty: f32 unless said otherwise.
pub fn sequence_empty(cx: &mut NodeContext<'_, '_>) -> Imported {
    let data_type = cx.data_type_attribute("dtype")?.unwrap_or(DataType::F32);
    cx.add_all(SequenceConstruct { data_type }, &[])
}

/// SequenceInsert: at the end without a position.
pub fn sequence_insert(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (sequence, tensor, position) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    cx.add_optional(SequenceInsert {}, &[Some(sequence), Some(tensor), position])
}

/// SequenceErase: the last without a position.
pub fn sequence_erase(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (sequence, position) = (cx.input(0)?, cx.optional(1));
    cx.add_optional(SequenceErase {}, &[Some(sequence), position])
}

/// SequenceAt.
pub fn sequence_at(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (sequence, position) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(SequenceAt {}, &[sequence, position])
}

/// SequenceLength.
pub fn sequence_length(cx: &mut NodeContext<'_, '_>) -> Imported {
    let sequence = cx.input(0)?;
    cx.add_all(SequenceLength {}, &[sequence])
}

/// ConcatFromSequence: the axis must be given.
pub fn concat_from_sequence(cx: &mut NodeContext<'_, '_>) -> Imported {
    let sequence = cx.input(0)?;
    let axis = cx.optional_int("axis").ok_or_else(|| cx.problem("attribute axis is missing"))?;
    cx.add_all(ConcatFromSequence { axis, new_axis: cx.flag("new_axis", false) }, &[sequence])
}

/// SplitToSequence: `keepdims` counts only without a split.
pub fn split_to_sequence(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (tensor, split) = (cx.input(0)?, cx.optional(1));
    let op = SplitToSequence { axis: cx.int("axis", 0), keep_axis: cx.flag("keepdims", true) };
    cx.add_optional(op, &[Some(tensor), split])
}

/// SequenceMap: a loop over the positions that collects each result in a sequence of its own.
pub fn sequence_map(cx: &mut NodeContext<'_, '_>) -> Imported {
    let inputs = cx.inputs_from(0)?;
    let first = cx.input(0)?;
    let results = cx.graph_arity("body").map_or(0, |(_, outputs)| outputs);
    let count = cx.add(SequenceLength {}, &[first])?;
    let goes_on = cx.scalar(DataType::Bool, 1.0)?;

    // The element types of the results are known once the body has been imported on one element of each input.
    let fed = |cx: &mut NodeContext<'_, '_>, position: Handle| {
        let mut values = Vec::with_capacity(inputs.len());
        for &input in &inputs {
            values.push(match cx.ty(input) {
                ValueType::Sequence(_) => cx.add(SequenceAt {}, &[input, position])?,
                _ => input,
            });
        }
        Ok(values)
    };
    let number = ValueType::tensor(DataType::I64, Vec::new());
    let condition = ValueType::tensor(DataType::Bool, Vec::new());
    let probe = crate::ops::carried::body(cx, std::slice::from_ref(&number), &mut |cx, values| {
        let position = values.first().copied().ok_or_else(|| cx.problem("the body has no position"))?;
        let elements = fed(cx, position)?;
        cx.inline_subgraph("body", &elements)
    })?;
    let mut empty = Vec::with_capacity(results);
    for ty in probe.body.output_types() {
        empty.push(cx.add(SequenceConstruct { data_type: ty.data_type() }, &[])?);
    }

    let mut types = vec![number, condition];
    types.extend(empty.iter().map(|h| cx.ty(*h).clone()));
    let scoped = stable_body(cx, &types, 2..2 + results, 1, &mut |cx, values| {
        let [position, condition, lists @ ..] = values else { return Err(cx.problem("the loop has no position")) };
        let elements = fed(cx, *position)?;
        let mut outputs = vec![*condition];
        for (list, element) in lists.iter().zip(cx.inline_subgraph("body", &elements)?) {
            outputs.push(cx.add(SequenceInsert {}, &[*list, element])?);
        }
        Ok(outputs)
    })?;
    let op = Loop { carried: results, body: scoped.body.clone() };
    let fed = [count, goes_on].into_iter().chain(empty).map(Some).collect();
    cx.add_optional(op, &with_captures(fed, &scoped))
}

/// Optional: of its input, or of nothing of the type given.
pub fn optional(cx: &mut NodeContext<'_, '_>) -> Imported {
    let input = cx.optional(0);
    let ty = match input {
        Some(input) => Some(cx.ty(input).clone()),
        None => cx.type_attribute("type")?,
    };
    let Some(ty) = ty else { return Err(cx.problem("neither an input nor a type is given")) };
    let Some(element) = OptionalElement::of(&ty) else {
        return Err(cx.problem(format!("an optional holds a tensor or a sequence of tensors, not {ty}")));
    };
    cx.add_optional(OptionalConstruct { element }, &[input])
}

/// OptionalHasElement: since version 18 also of a plain value, and without an input.
pub fn optional_has_element(cx: &mut NodeContext<'_, '_>) -> Imported {
    let known = |cx: &mut NodeContext<'_, '_>, truth: bool| {
        let tensor = Tensor::from_ints(DataType::Bool, &[], &[i128::from(truth)]);
        tensor.map(|t| vec![cx.constant(t)]).map_err(|e| cx.problem(e.to_string()))
    };
    match cx.optional(0) {
        None => known(cx, false),
        Some(input) if matches!(cx.ty(input), ValueType::Optional(_)) => cx.add_all(OptionalHasElement {}, &[input]),
        Some(_) => known(cx, true),
    }
}

/// OptionalGetElement: since version 18 a plain value is its own element.
pub fn optional_get_element(cx: &mut NodeContext<'_, '_>) -> Imported {
    let input = cx.input(0)?;
    match cx.ty(input) {
        ValueType::Optional(_) => cx.add_all(OptionalGetElement {}, &[input]),
        _ => Ok(vec![input]),
    }
}
