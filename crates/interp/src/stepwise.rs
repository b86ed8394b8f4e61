//! Pointwise programs, step by step: an observer may replace the result of each operation, as rounding would.

use std::collections::HashSet;

use sinter_base::{AttributeError, Value};
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Pointwise, Program, ScalarOp};
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator};

/// The results of a program, each operation evaluated by itself; `replace` gets the position and the result of each, and
/// returns the value that later operations read. A result that depends on no operand has no axes.
///
/// # Errors
/// Errors of the evaluator.
pub fn evaluate_by_steps(
    op: &Pointwise,
    inputs: &Arguments<'_>,
    evaluator: &dyn Evaluator,
    cx: &EvalContext<'_>,
    replace: &dyn Fn(usize, Value) -> Value,
) -> Result<Vec<Value>, EvalError> {
    let mut values: Vec<Value> = Vec::new();
    for (position, step) in op.program.steps().iter().enumerate() {
        let operands: Vec<Option<Value>> = match step {
            Step::Input { index, .. } => {
                values.push(inputs.value(*index)?.clone());
                continue;
            }
            Step::Constant { .. } => Vec::new(),
            Step::Apply { args, .. } => args.iter().map(|arg| values.get(*arg).cloned()).collect(),
        };
        let program = alone(step, &operands).map_err(|error| EvalError::Invalid(error.to_string()))?;
        let made = evaluator.evaluate(&Pointwise { program }.into(), &Arguments::new(&operands), cx)?;
        let result = made.into_iter().next().ok_or_else(|| EvalError::Invalid("no result".to_owned()))?;
        let is_computed = matches!(step, Step::Apply { .. });
        values.push(if is_computed { replace(position, result) } else { result });
    }
    Ok(op.program.results().iter().map(|result| values[*result].clone()).collect())
}

/// The steps of a program whose numbers it compares.
pub fn compared_steps(op: &Pointwise) -> HashSet<usize> {
    let compares = |op: &ScalarOp| matches!(op, ScalarOp::Equal | ScalarOp::Less | ScalarOp::LessOrEqual);
    let steps = op.program.steps().iter().filter_map(|step| match step {
        Step::Apply { op, args, .. } if compares(op) => Some(args.iter().copied()),
        _ => None,
    });
    steps.flatten().collect()
}

/// The operands of a program that it compares as they are.
pub fn compared_inputs(op: &Pointwise) -> HashSet<usize> {
    let compared = compared_steps(op);
    let steps = op.program.steps().iter().enumerate().filter(|(position, _)| compared.contains(position));
    steps.filter_map(|(_, step)| if let Step::Input { index, .. } = step { Some(*index) } else { None }).collect()
}

/// A program of one step.
fn alone(step: &Step, operands: &[Option<Value>]) -> Result<Program, AttributeError> {
    let mut program = Program::default();
    let mut args = Vec::new();
    for (index, operand) in operands.iter().flatten().enumerate() {
        args.push(program.add(Step::Input { index, data_type: operand.value_type().data_type() })?);
    }
    let last = program.add(match step {
        Step::Apply { op, compute, .. } => Step::Apply { op: *op, compute: *compute, args: args.into() },
        other => other.clone(),
    })?;
    program.set_results(vec![last])?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use sinter_base::{DataType, Tensor};
    use sinter_ops::Op;
    use sinter_ops::pointwise::Expr;

    use super::*;
    use crate::FastEvaluator;

    /// (x + y) * 2 with two results, where y has fewer axes.
    #[test]
    fn the_steps_together_are_the_program() {
        let (x, y) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
        let sum = &x + &y;
        let Op::Pointwise(op) = Op::from(Expr::into_pointwise(&[&sum * 2.0, sum.clone()]).unwrap()) else {
            panic!("a program");
        };
        let x = Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let operands = [Some(Value::from(x)), Some(Tensor::from_vec(&[3], vec![0f32, 10.0, 20.0]).unwrap().into())];
        let (arguments, cx) = (Arguments::new(&operands), EvalContext::new(&FastEvaluator));
        let whole = FastEvaluator.evaluate(&op.clone().into(), &arguments, &cx).unwrap();
        let by_steps = |replace: &dyn Fn(usize, Value) -> Value| {
            evaluate_by_steps(&op, &arguments, &FastEvaluator, &cx, replace).unwrap()
        };
        assert_eq!(by_steps(&|_, result| result), whole);
        // The product reads the sum that the observer returns.
        let sum = op.program.results()[1];
        let zero = |position: usize, result: Value| match position == sum {
            true => Tensor::from_vec(&[2, 3], vec![0f32; 6]).unwrap().into(),
            false => result,
        };
        assert!(by_steps(&zero).iter().all(|value| value.as_tensor().unwrap().to_floats() == [0.0; 6]));
    }
}
