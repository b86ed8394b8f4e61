//! Values that depend on an operator that quantizes, selects or draws at random: there the last bit of a number may
//! decide.

use sinter_ops::{Body, Op};

/// Does the last bit of an operand decide about the operator's results?
pub(crate) fn decides(op: &Op) -> bool {
    let selects = matches!(
        op,
        Op::Quantize(_) | Op::TopK(_) | Op::NonZero(_) | Op::NonMaxSuppression(_) | Op::ArgReduce(_) | Op::Unique(_)
    );
    selects || op.bodies().is_empty() && op.effects().random
}

/// Is any operator of the body, or of a body inside, discrete?
pub(crate) fn is_discrete(body: &Body) -> bool {
    body.nodes().iter().any(|node| decides(&node.op) || node.op.bodies().iter().any(|body| is_discrete(body)))
}

/// Which results of a body depend on a discrete operator, where these inputs do.
pub(crate) fn dependent(body: &Body, inputs: &[bool]) -> Vec<bool> {
    let mut depends = vec![false; body.value_count()];
    for (id, input) in body.inputs().iter().zip(inputs) {
        depends[id.index()] = *input;
    }
    for node in body.nodes() {
        let operands: Vec<bool> = node.inputs.iter().map(|id| id.is_some_and(|id| depends[id.index()])).collect();
        let results = results(&node.op, &operands, node.outputs.len());
        node.outputs.iter().zip(results).for_each(|(id, result)| depends[id.index()] = result);
    }
    body.outputs().iter().map(|id| depends[id.index()]).collect()
}

fn results(op: &Op, operands: &[bool], count: usize) -> Vec<bool> {
    let all = |decided: bool| vec![decided; count];
    let from = |first: usize| operands.get(first..).unwrap_or_default();
    let is = |operand: usize| operands.get(operand) == Some(&true);
    match op {
        Op::If(op) => {
            if is(0) {
                return all(true);
            }
            let then = dependent(&op.then_branch, from(1));
            let otherwise = dependent(&op.else_branch, from(1 + op.then_branch.inputs().len()));
            then.iter().zip(&otherwise).map(|(a, b)| *a || *b).collect()
        }
        Op::Loop(op) => {
            let mut given: Vec<bool> = [false, is(1)].into_iter().chain(from(2).iter().copied()).collect();
            let results = settled(&op.body, &mut given, 2, 1, op.carried);
            // The condition and the trip count decide about all results.
            if is(0) || is(1) || results.first() == Some(&true) { all(true) } else { results[1..].to_vec() }
        }
        Op::Scan(op) => settled(&op.body, &mut operands.to_vec(), 0, 0, op.states),
        _ => all(decides(op) || operands.contains(&true)),
    }
}

/// The results of a body whose `carried` inputs from `first_in` on are its results from `first_out` on, one run before.
fn settled(body: &Body, inputs: &mut [bool], first_in: usize, first_out: usize, carried: usize) -> Vec<bool> {
    loop {
        let results = dependent(body, inputs);
        let mut is_settled = true;
        for at in 0..carried {
            if results.get(first_out + at) == Some(&true) && inputs.get(first_in + at) == Some(&false) {
                inputs[first_in + at] = true;
                is_settled = false;
            }
        }
        if is_settled {
            return results;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sinter_base::{DataType, ValueType};
    use sinter_ops::InferContext;
    use sinter_ops::control::Loop;
    use sinter_ops::pointwise::{Expr, ScalarOp};
    use sinter_ops::reduce::ArgReduce;

    use super::*;

    /// Of two carried values the first becomes the second, and the second the position of the largest element.
    #[test]
    fn carried_dependence_spreads() {
        let mut cx = InferContext::default();
        let list = ValueType::tensor(DataType::I64, vec![1i64.into()]);
        let mut body = Body::new();
        let _ = body.add_input(ValueType::tensor(DataType::I64, vec![]));
        let goes_on = body.add_input(ValueType::tensor(DataType::Bool, vec![]));
        let [a, b, c] = [0; 3].map(|_| body.add_input(list.clone()));
        let arg = ArgReduce { largest: true, axis: 0, keep_dims: true, select_last: false };
        let position = body.add(arg.into(), &[Some(a)], &mut cx).unwrap()[0];
        let neg = Expr::into_pointwise(&[Expr::input(0, DataType::I64).unary(ScalarOp::Neg)]).unwrap();
        let negated = body.add(neg.into(), &[Some(c)], &mut cx).unwrap()[0];
        body.set_outputs(vec![goes_on, b, position, negated]);
        assert!(is_discrete(&body));
        assert_eq!(dependent(&body, &[false; 5]), [false, false, true, false], "once");
        let op = Loop { carried: 3, body: Arc::new(body) }.into();
        assert_eq!(results(&op, &[false; 5], 3), [true, true, false], "again and again");
        assert_eq!(
            results(&op, &[true, false, false, false, false], 3),
            [true; 3],
            "an operand decides the trip count"
        );
    }
}
