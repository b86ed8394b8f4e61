//! One of two bodies, chosen by a condition at run time.
//!
//! Inputs: condition, one bool; what the then-branch captures; what the else-branch captures. Both bodies have the same
//! number of results; a result's type is the join of both branches' types, or that of one branch when the condition is
//! known. Source: ONNX If-25.

use std::sync::Arc;

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::body::Body;
use crate::control::join::join;
use crate::control::names::{Source, result_types};
use crate::control::nested;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct If {
    /// Runs when the condition holds; all its inputs are captured.
    #[attributes(skip)]
    pub then_branch: Arc<Body>,
    /// Runs when it does not.
    #[attributes(skip)]
    pub else_branch: Arc<Body>,
}

impl Operator for If {
    const NAME: &'static str = "If";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        nested::check_condition(inputs, 0)?;
        let (then, otherwise) = (&self.then_branch, &self.else_branch);
        let captures = then.inputs().len() + otherwise.inputs().len();
        if inputs.len() != 1 + captures || then.outputs().len() != otherwise.outputs().len() {
            invalid!(
                "{} inputs for branches that capture {captures} values; the branches have {} and {} results",
                inputs.len(),
                then.outputs().len(),
                otherwise.outputs().len()
            );
        }
        nested::check_fed(then, 0, inputs, 1)?;
        nested::check_fed(otherwise, 0, inputs, 1 + then.inputs().len())?;
        let mut results = |body: &Body, first: usize| {
            let captured = (first..first + body.inputs().len()).map(|index| Source::fixed(inputs, index));
            result_types(body, &captured.collect::<Vec<_>>(), cx)
        };
        let (of_then, of_else) = (results(then, 1), results(otherwise, 1 + then.inputs().len()));
        match inputs.constant_ints(0).as_deref() {
            Some([0]) => Ok(of_else),
            Some([_]) => Ok(of_then),
            _ => of_then.iter().zip(&of_else).map(|(a, b)| join(a, b, cx)).collect(),
        }
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.infer(inputs, &mut InferContext::default())
    }

    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let first_else = 1 + self.then_branch.inputs().len();
        let captures = inputs.all();
        let (branch, range) = if nested::condition(inputs.value(0)?)? {
            (&self.then_branch, captures.get(1..first_else))
        } else {
            (&self.else_branch, captures.get(first_else..))
        };
        let Some(range) = range else { invalid!(eval: "{} inputs are too few for the branches", inputs.len()) };
        branch.evaluate(range.to_vec(), cx)
    }

    /// The larger branch.
    fn cost(&self, _inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        let once = Dim::constant(1);
        let (a, b) = (nested::cost(&self.then_branch, &once), nested::cost(&self.else_branch, &once));
        Cost { operations: a.operations.maximum(&b.operations), bytes: a.bytes.maximum(&b.bytes) }
    }

    fn effects(&self) -> Effects {
        nested::effects(self.bodies())
    }

    fn bodies(&self) -> Vec<&Arc<Body>> {
        vec![&self.then_branch, &self.else_branch]
    }

    fn with_bodies(&self, bodies: Vec<Arc<Body>>) -> Self {
        let mut bodies = bodies.into_iter();
        Self { then_branch: bodies.next().unwrap_or_default(), else_branch: bodies.next().unwrap_or_default() }
    }

    fn examples() -> Vec<Example> {
        let bool_of = |v: bool| Tensor::scalar(DataType::Bool, f64::from(u8::from(v)));
        let op = examples::double_or_keep();
        vec![
            Example::new("condition holds", op.clone()).tensor(bool_of(true)).float(&[3, 5]).float(&[3, 5]),
            Example::new("condition fails", op.clone()).tensor(bool_of(false)).float(&[3, 5]).float(&[3, 5]),
            Example::new("nothing inside", op).tensor(bool_of(true)).float(&[0, 2]).float(&[0, 2]),
        ]
    }
}

/// Bodies for examples and tests of control flow.
pub(crate) mod examples {
    use super::{Arc, Body, If, ValueType};
    use crate::infer::InferContext;
    use crate::pointwise::Expr;
    use sinter_base::{DataType, Dim, Shape, TensorType};

    /// A body of the form `x -> expression(x)` over f32 inputs of one dimension each.
    pub(crate) fn body_of(inputs: usize, rank: usize, results: impl Fn(&[Expr]) -> Vec<Expr>) -> Body {
        let mut body = Body::new();
        let dims: Vec<Dim> = (0..rank).map(|axis| Dim::symbol(&format!("D{axis}"))).collect();
        let ty: ValueType = TensorType::new(DataType::F32, Shape::Ranked(dims)).into();
        let ids: Vec<_> = (0..inputs).map(|_| Some(body.add_input(ty.clone()))).collect();
        let operands: Vec<Expr> = (0..inputs).map(|i| Expr::input(i, DataType::F32)).collect();
        let op = Expr::into_pointwise(&results(&operands)).expect("well-typed expressions");
        let outputs = body.add(op.into(), &ids, &mut InferContext::default()).expect("matching types");
        body.set_outputs(outputs.to_vec());
        body
    }

    /// The first captured value doubled, or the second as it is.
    pub(crate) fn double_or_keep() -> If {
        let then_branch = Arc::new(body_of(1, 2, |x| vec![&x[0] + &x[0]]));
        let else_branch = Arc::new(body_of(1, 2, |x| vec![&x[0] * 1.0]));
        If { then_branch, else_branch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    #[test]
    fn the_condition_chooses() {
        let op = examples::double_or_keep();
        let (a, b) = (Tensor::scalar(DataType::F32, 3.0), Tensor::scalar(DataType::F32, 5.0));
        let run = |v: f64| reference_of(&op, &[&Tensor::scalar(DataType::Bool, v), &a, &b]).unwrap()[0].to_floats();
        assert_eq!(run(1.0), [6.0]);
        assert_eq!(run(0.0), [5.0]);
        assert!(reference_of(&op, &[&Tensor::of_i64(&[1, 2]), &a, &b]).is_err());
    }

    #[test]
    fn result_types_are_joined() {
        let op = examples::double_or_keep();
        let condition = ValueType::tensor(DataType::Bool, vec![]);
        let x = ValueType::tensor(DataType::F32, vec![2i64.into(), 3i64.into()]);
        assert_eq!(infer_of(&op, &[&condition, &x, &x]).unwrap()[0].to_string(), "f32[2, 3]");
        assert!(infer_of(&op, &[&x, &x, &x]).is_err());
        assert!(infer_of(&op, &[&condition, &x]).is_err());
    }
}
