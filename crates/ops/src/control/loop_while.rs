//! A body run again and again, while a condition holds and at most so many times.
//!
//! Inputs: largest number of iterations (one i64, optional); condition (one bool, optional); the initial values of
//! what is carried from one iteration to the next; captured values. The body takes (iteration number i64[], condition
//! bool[], carried..., captured...) and gives (condition, carried..., per-iteration tensors...). Results: the last
//! carried values; the per-iteration tensors stacked along a new first axis. Carried values may be tensors whose shape
//! changes, sequences and optionals. No iteration gives the initial values and empty stacks; a
//! loop that nothing can end is an error. Source: ONNX Loop-25.

use std::sync::Arc;

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

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

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Loop {
    /// Number of carried values.
    pub carried: usize,
    /// One iteration.
    #[attributes(skip)]
    pub body: Arc<Body>,
}

impl Loop {
    /// Does the body always give a condition that holds, or the one that it got, which holds while it runs?
    fn goes_on(&self) -> bool {
        let Some(condition) = self.body.outputs().first() else { return false };
        let known = self.body.ty(*condition).as_tensor().and_then(|t| t.constant_ints());
        self.body.inputs().get(1) == Some(condition) || known.as_deref().is_some_and(|v| v == [1])
    }

    /// The sources of the body's inputs.
    pub fn sources(&self, inputs: &Operands<'_>) -> Vec<Source> {
        let mut sources = vec![Source::Made, Source::Made];
        sources.extend((2..2 + self.carried).map(|index| Source::carried(inputs, index, index - 1)));
        sources.extend((2 + self.carried..inputs.len()).map(|index| Source::fixed(inputs, index)));
        sources
    }

    /// Number of iterations as an expression, when only the trip count ends the loop.
    fn iterations(&self, inputs: &Operands<'_>) -> Option<Dim> {
        let always = |ty: Option<&ValueType>| {
            let known = ty.and_then(ValueType::as_tensor).and_then(|t| t.constant_ints());
            known.as_deref().is_some_and(|v| v == [1])
        };
        let starts = !inputs.has(1) || always(inputs.optional_value(1));
        match inputs.ints(0) {
            Some([count]) if self.goes_on() && starts => Some(count.maximum(&Dim::constant(0))),
            _ => None,
        }
    }
}

impl Operator for Loop {
    const NAME: &'static str = "Loop";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        if inputs.has(0) {
            inputs.data_type_where(0, "i64", |t| t == DataType::I64)?;
        }
        if inputs.has(1) {
            nested::check_condition(inputs, 1)?;
        }
        if !inputs.has(0) && !inputs.has(1) && self.goes_on() {
            invalid!("the loop never ends: it has no number of iterations, and its condition always holds");
        }
        let captures = inputs.len().saturating_sub(2 + self.carried);
        nested::check_count(&self.body, 2 + self.carried, captures, 1 + self.carried)?;
        nested::check_fed(&self.body, 2, inputs, 2)?;
        let results = result_types(&self.body, &self.sources(inputs), cx);
        let count = self.iterations(inputs).unwrap_or_else(|| cx.fresh("iterations"));
        let mut types = Vec::with_capacity(results.len() - 1);
        for (i, result) in results[1..=self.carried].iter().enumerate() {
            types.push(join(&without_contents(inputs.value(2 + i)?), &without_contents(result), cx)?);
        }
        for result in &results[1 + self.carried..] {
            types.push(nested::stacked_type(result, &count, 0)?);
        }
        Ok(types)
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.infer(inputs, &mut InferContext::default())
    }

    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let most = match inputs.optional_tensor(0)?.map(Tensor::to_i64) {
            None => None,
            Some(count) if count.len() == 1 => Some(usize::try_from(count[0]).unwrap_or(0)),
            Some(count) => invalid!(eval: "the number of iterations has {} elements", count.len()),
        };
        let mut goes_on = inputs.optional_value(1).map_or(Ok(true), nested::condition)?;
        if most.is_none() && goes_on && self.goes_on() {
            invalid!(eval: "the loop never ends: it has no number of iterations, and its condition always holds");
        }
        let initial = inputs.all().get(2..2 + self.carried);
        let Some(initial) = initial else { invalid!(eval: "{} initial values expected", self.carried) };
        let mut carried = initial.to_vec();
        let count = self.body.outputs().len();
        let Some(stacked) = count.checked_sub(1 + self.carried) else {
            invalid!(eval: "a body of {count} results carries {} values", self.carried);
        };
        let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); stacked];
        let (mut number, mut stacked) = (0usize, 0u64);
        while goes_on && most.is_none_or(|most| number < most) {
            let iteration = Tensor::from_ints(DataType::I64, &[], &[number as i128])?;
            let mut fed = vec![Some(iteration.into()), Some(Tensor::scalar(DataType::Bool, 1.0).into())];
            fed.append(&mut carried);
            let kept = fed.iter().flatten().map(bytes_of).fold(stacked, u64::saturating_add);
            let fed = nested::body_inputs(fed, inputs, 2 + self.carried);
            let mut results = self.body.evaluate(fed, &nested::iteration(cx, number).holding(kept))?;
            let per_iteration = results.split_off(1 + self.carried);
            goes_on = nested::condition(&results.remove(0))?;
            carried = results.into_iter().map(Some).collect();
            for (stack, value) in stacks.iter_mut().zip(per_iteration) {
                stacked = stacked.saturating_add(bytes_of(&value));
                stack.push(value);
            }
            number += 1;
        }
        let missing = || EvalError::Infer(InferError::MissingInput { index: 2 });
        let mut results = carried.into_iter().map(|v| v.ok_or_else(missing)).collect::<Result<Vec<_>, _>>()?;
        let result_types = nested::types_of_results(&self.body, number, inputs, |types| self.sources(types));
        for (stack, ty) in stacks.iter().zip(&result_types[1 + self.carried..]) {
            results.push(nested::stacked(stack, ty, 0)?.into());
        }
        Ok(results)
    }

    fn cost(&self, inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        nested::cost(&self.body, &self.iterations(inputs).unwrap_or_else(|| Dim::constant(1)))
    }

    fn effects(&self) -> Effects {
        nested::effects([&self.body])
    }

    fn bodies(&self) -> Vec<&Arc<Body>> {
        vec![&self.body]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Body>>) -> Self {
        Self { carried: self.carried, body: bodies.into_iter().next().unwrap_or_default() }
    }

    fn examples() -> Vec<Example> {
        let op = doubling();
        let count = |n: i64| Tensor::from_ints(DataType::I64, &[], &[i128::from(n)]).expect("one element");
        let truth = |v: f64| Tensor::scalar(DataType::Bool, v);
        vec![
            Example::new("five times", op.clone()).tensor(count(5)).absent().float(&[3, 2]).float(&[3, 2]),
            Example::new("count as a list", op.clone()).ints(&[3]).tensor(truth(1.0)).float(&[2, 2]).float(&[2, 2]),
            Example::new("never", op.clone()).tensor(count(0)).absent().float(&[3, 2]).float(&[3, 2]),
            Example::new("condition fails at once", op).absent().tensor(truth(0.0)).float(&[1, 2]).float(&[1, 2]),
        ]
    }
}

/// Carries `x -> 2 x + captured`, gives `2 x` of every iteration, never stops by itself.
fn doubling() -> Loop {
    let mut body = Body::new();
    let scalar = |data_type| ValueType::tensor(data_type, Vec::new());
    let matrix = ValueType::tensor(DataType::F32, vec![Dim::symbol("D0"), Dim::symbol("D1")]);
    body.add_input(scalar(DataType::I64));
    let condition = body.add_input(scalar(DataType::Bool));
    let x = body.add_input(matrix.clone());
    let captured = body.add_input(matrix);
    let mut outputs = vec![condition];
    let (a, b) = (crate::pointwise::Expr::input(0, DataType::F32), crate::pointwise::Expr::input(1, DataType::F32));
    let op = crate::pointwise::Expr::into_pointwise(&[&(&a + &a) + &b, &a + &a]).expect("well-typed expressions");
    let results = body.add(op.into(), &[Some(x), Some(captured)], &mut InferContext::default());
    outputs.extend(results.expect("matching types"));
    body.set_outputs(outputs);
    Loop { carried: 1, body: Arc::new(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    fn run(count: Option<i64>, condition: Option<bool>) -> Vec<Value> {
        let one = |v: f32| Value::Tensor(Tensor::from_vec(&[1, 1], vec![v]).unwrap());
        let inputs = [
            count.map(|c| Tensor::of_i64(&[c]).into()),
            condition.map(|c| Tensor::scalar(DataType::Bool, f64::from(u8::from(c))).into()),
            Some(one(1.0)),
            Some(one(10.0)),
        ];
        doubling().reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator)).unwrap()
    }

    #[test]
    fn values_are_carried_and_stacked() {
        let results = run(Some(3), None);
        // 1 -> 12 -> 34 -> 78
        assert_eq!(results[0].as_tensor().unwrap().to_floats(), [78.0]);
        let stack = results[1].as_tensor().unwrap();
        assert_eq!(stack.sizes(), [3, 1, 1]);
        assert_eq!(stack.to_floats(), [2.0, 24.0, 68.0]);
    }

    #[test]
    fn no_iteration_gives_empty_stacks() {
        for results in [run(Some(0), None), run(None, Some(false)), run(Some(-3), Some(true))] {
            assert_eq!(results[0].as_tensor().unwrap().to_floats(), [1.0]);
            assert_eq!(results[1].as_tensor().unwrap().sizes(), [0, 1, 1]);
        }
    }

    #[test]
    fn types_of_results() {
        let count = Value::from(Tensor::of_i64(&[4])).value_type();
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("D0"), 7i64.into()]);
        let mut cx = InferContext::default();
        let types = doubling().infer(&Operands::new(&[Some(&count), None, Some(&x), Some(&x)]), &mut cx).unwrap();
        let carried = types[0].as_tensor().unwrap().dims().unwrap();
        assert_eq!(carried[0], Dim::symbol("D0"));
        assert_eq!(carried[1].as_constant(), Some(7));
        assert_eq!(types[1].as_tensor().unwrap().dims().unwrap()[1], Dim::symbol("D0"));
    }
}
