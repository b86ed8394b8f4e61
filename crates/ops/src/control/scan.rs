//! A body run over the slices of tensors along an axis, in either direction.
//!
//! Inputs: initial states; tensors to walk through; captured values. The body takes (states..., one slice of each
//! tensor, captured...) and gives (states..., per-slice tensors...). Results: the last states; the per-slice tensors
//! stacked along a new axis. All walked axes have one length; states keep their type. Source: ONNX Scan-25; the batched
//! form of Scan-8 is one of these inside another.

use std::sync::Arc;

use sinter_base::{Attributes, DataType, Dim, Value, ValueType};

use crate::axes::axis_of;
use crate::body::Body;
use crate::control::join::{join, without_contents};
use crate::control::names::{Source, result_types};
use crate::control::nested;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::memory::bytes_of;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};
use crate::sequence::combine;

/// An axis and the order in which it is walked.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Walk {
    /// The axis, negative ones counted from the last; of a result, the axis in the stacked tensor.
    pub axis: i64,
    /// From the last slice to the first.
    pub reverse: bool,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Scan {
    /// Number of states.
    pub states: usize,
    /// One per walked tensor.
    pub inputs: Vec<Walk>,
    /// One per stacked result.
    pub outputs: Vec<Walk>,
    /// One step.
    #[attributes(skip)]
    pub body: Arc<Body>,
}

impl Scan {
    /// The sources of the body's inputs.
    pub fn sources(&self, inputs: &Operands<'_>) -> Vec<Source> {
        let fed = self.states + self.inputs.len();
        let slice = |(index, walk): (usize, &Walk)| match inputs.optional_value(index).and_then(ValueType::as_tensor) {
            Some(ty) => match ty.dims().map(|dims| (dims, axis_of(walk.axis, dims.len()))) {
                Ok((dims, Ok(axis))) => {
                    let kept = dims.iter().enumerate().filter(|(at, _)| *at != axis).map(|(_, dim)| dim.clone());
                    Source::Fixed(ValueType::tensor(ty.data_type, kept.collect()))
                }
                _ => Source::Made,
            },
            None => Source::Made,
        };
        let states = (0..self.states).map(|index| Source::carried(inputs, index, index));
        let slices = (self.states..).zip(&self.inputs).map(slice);
        states.chain(slices).chain((fed..inputs.len()).map(|index| Source::fixed(inputs, index))).collect()
    }
}

impl Operator for Scan {
    const NAME: &'static str = "Scan";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let fed = self.states + self.inputs.len();
        nested::check_count(&self.body, fed, inputs.len().saturating_sub(fed), self.states + self.outputs.len())?;
        let declared = self.body.input_types();
        for (i, ty) in declared.iter().enumerate().take(self.states) {
            if !nested::admits(ty, inputs.value(i)?) {
                invalid!("state {i} must be {ty}, found {}", inputs.value(i)?);
            }
        }
        nested::check_fed(&self.body, fed, inputs, fed)?;
        let mut length: Option<Dim> = None;
        for (i, walk) in self.inputs.iter().enumerate() {
            let (slice, tensor) = (&declared[self.states + i], inputs.tensor(self.states + i)?);
            let fits = slice.as_tensor().is_some_and(|s| {
                s.data_type == tensor.data_type
                    && s.shape.rank().is_none_or(|rank| tensor.shape.rank().is_none_or(|own| own == rank + 1))
            });
            if !fits {
                invalid!("the slices of input {} must be {slice}, found {tensor}", self.states + i);
            }
            let Ok(dims) = tensor.dims() else { continue };
            let own = &dims[axis_of(walk.axis, dims.len())?];
            match &length {
                Some(known) => cx.require_equal(known, own, "lengths of the walked axes")?,
                None => length = Some(own.clone()),
            }
        }
        let length = length.unwrap_or_else(|| cx.fresh("steps"));
        let results = result_types(&self.body, &self.sources(inputs), cx);
        let mut types = Vec::with_capacity(results.len());
        for (i, result) in results[..self.states].iter().enumerate() {
            types.push(join(&without_contents(inputs.value(i)?), &without_contents(result), cx)?);
        }
        for (result, walk) in results[self.states..].iter().zip(&self.outputs) {
            types.push(nested::stacked_type(result, &length, walk.axis)?);
        }
        Ok(types)
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.infer(inputs, &mut InferContext::default())
    }

    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let fed = self.states + self.inputs.len();
        let count = self.body.outputs().len();
        if inputs.len() < fed || count != self.states + self.outputs.len() {
            invalid!(eval: "{} inputs and {count} results do not fit the scan", inputs.len());
        }
        let mut walked = Vec::with_capacity(self.inputs.len());
        for (i, walk) in self.inputs.iter().enumerate() {
            let tensor = inputs.tensor(self.states + i)?;
            walked.push((tensor, axis_of(walk.axis, tensor.rank())?, walk.reverse));
        }
        let lengths: Vec<usize> = walked.iter().map(|(tensor, axis, _)| tensor.sizes()[*axis]).collect();
        let length = lengths.first().copied().unwrap_or(0);
        if lengths.iter().any(|other| *other != length) {
            invalid!(eval: "the walked axes have different lengths: {lengths:?}");
        }
        let mut states: Vec<Option<Value>> = inputs.all()[..self.states].to_vec();
        let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); self.outputs.len()];
        let mut stacked = 0u64;
        for step in 0..length {
            let mut values = std::mem::take(&mut states);
            for (tensor, axis, reverse) in &walked {
                let at = if *reverse { length - 1 - step } else { step };
                values.push(Some(combine::index(tensor, *axis, at)?.into()));
            }
            let kept = values.iter().flatten().map(bytes_of).fold(stacked, u64::saturating_add);
            let values = nested::body_inputs(values, inputs, fed);
            let mut results = self.body.evaluate(values, &nested::iteration(cx, step).holding(kept))?;
            for (stack, value) in stacks.iter_mut().zip(results.split_off(self.states)) {
                stacked = stacked.saturating_add(bytes_of(&value));
                stack.push(value);
            }
            states = results.into_iter().map(Some).collect();
        }
        let missing = || EvalError::Infer(InferError::MissingInput { index: 0 });
        let mut results = states.into_iter().map(|v| v.ok_or_else(missing)).collect::<Result<Vec<_>, _>>()?;
        let result_types = nested::types_of_results(&self.body, length, inputs, |types| self.sources(types));
        for ((mut stack, walk), ty) in stacks.into_iter().zip(&self.outputs).zip(&result_types[self.states..]) {
            if walk.reverse {
                stack.reverse();
            }
            results.push(nested::stacked(&stack, ty, walk.axis)?.into());
        }
        Ok(results)
    }

    fn cost(&self, inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        let walk = self.inputs.first().map_or(0, |w| w.axis);
        let dims = inputs.dims(self.states).ok();
        let length = dims.and_then(|d| axis_of(walk, d.len()).ok().map(|axis| d[axis].clone()));
        nested::cost(&self.body, &length.unwrap_or_else(|| Dim::constant(1)))
    }

    fn effects(&self) -> Effects {
        nested::effects([&self.body])
    }

    fn bodies(&self) -> Vec<&Arc<Body>> {
        vec![&self.body]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Body>>) -> Self {
        Self { body: bodies.into_iter().next().unwrap_or_default(), ..self.clone() }
    }

    fn examples() -> Vec<Example> {
        let walk = |axis, reverse| Walk { axis, reverse };
        vec![
            Example::new("running sums", sums(walk(0, false), walk(0, false))).float(&[5]).float(&[7, 5]),
            Example::new("backward, last axis", sums(walk(-1, true), walk(1, false))).float(&[3]).float(&[3, 4]),
            Example::new("results backward", sums(walk(0, false), walk(-1, true))).float(&[2]).float(&[3, 2]),
            Example::new("one step", sums(walk(0, false), walk(0, false))).float(&[1]).float(&[1, 1]),
            Example::new("no step", sums(walk(0, false), walk(0, false))).float(&[2]).float(&[0, 2]),
        ]
    }
}

/// The state is the sum so far, which every step also gives.
fn sums(input: Walk, output: Walk) -> Scan {
    let mut body = Body::new();
    let ty = ValueType::tensor(DataType::F32, vec![Dim::symbol("D0")]);
    let (state, slice) = (body.add_input(ty.clone()), body.add_input(ty));
    let (a, b) = (crate::pointwise::Expr::input(0, DataType::F32), crate::pointwise::Expr::input(1, DataType::F32));
    let op = crate::pointwise::Expr::into_pointwise(&[&a + &b]).expect("well-typed expressions");
    let sum = body.add(op.into(), &[Some(state), Some(slice)], &mut InferContext::default());
    let sum = sum.expect("matching types")[0];
    body.set_outputs(vec![sum, sum]);
    Scan { states: 1, inputs: vec![input], outputs: vec![output], body: Arc::new(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::Tensor;

    #[test]
    fn sums_forward_and_backward() {
        let start = Tensor::from_vec(&[1], vec![0f32]).unwrap();
        let x = Tensor::from_vec(&[3, 1], vec![1f32, 2.0, 4.0]).unwrap();
        let run = |input: bool, output: bool| {
            let op = sums(Walk { axis: 0, reverse: input }, Walk { axis: 0, reverse: output });
            reference_of(&op, &[&start, &x]).unwrap()[1].to_floats()
        };
        assert_eq!(run(false, false), [1.0, 3.0, 7.0]);
        assert_eq!(run(true, false), [4.0, 6.0, 7.0]);
        assert_eq!(run(false, true), [7.0, 3.0, 1.0]);
    }

    #[test]
    fn axes_of_results() {
        let op = sums(Walk { axis: 1, reverse: false }, Walk { axis: -1, reverse: false });
        let state = ValueType::tensor(DataType::F32, vec![Dim::symbol("D0")]);
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("D0"), Dim::symbol("T")]);
        assert_eq!(infer_of(&op, &[&state, &x]).unwrap()[1].to_string(), "f32[D0, T]");
        let wrong = ValueType::tensor(DataType::F32, vec![Dim::symbol("T")]);
        assert!(infer_of(&op, &[&state, &wrong]).is_err());
    }
}
