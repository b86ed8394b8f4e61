//! Steps of optimizers (ai.onnx.preview.training): Adagrad-1, Adam-1, Momentum-1.
//!
//! Inputs: learning rate R, number T of steps made, then all tensors to optimize, all their gradients, and one list per
//! kind of state. Results: the new tensors, then each new state.

use sinter_ir::Handle;
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise_all;

/// Runs one step for each tensor. `STATES` kinds of state stand behind tensor and gradient; `N` operands in all.
fn optimize<const N: usize>(cx: &mut NodeContext<'_, '_>, step: impl Fn([Expr; N]) -> Vec<Expr>) -> Imported {
    let (rate, count, tensors) = (cx.input(0)?, cx.input(1)?, cx.inputs_from(2)?);
    // Tensor, gradient and states.
    let kinds = N - 2;
    if kinds == 0 || tensors.len() % kinds != 0 {
        return Err(cx.problem(format!("{} tensors cannot be divided into {kinds} kinds", tensors.len())));
    }
    let each = tensors.len() / kinds;
    let mut results: Vec<Vec<Handle>> = Vec::new();
    for which in 0..each {
        let mut operands = vec![rate, count];
        operands.extend(tensors.iter().skip(which).step_by(each));
        let operands: [Handle; N] =
            operands.try_into().map_err(|_| cx.problem("an optimizer's operands are missing"))?;
        let all = elementwise_all(cx, operands, &step)?;
        results.push(all);
    }
    let new_kinds = results.first().map_or(0, Vec::len);
    Ok((0..new_kinds).flat_map(|kind| results.iter().filter_map(move |r| r.get(kind)).copied()).collect())
}

/// `later` when a step was made already, else `first`.
fn after_first(count: &Expr, later: &Expr, first: &Expr) -> Expr {
    count.same(0.0).binary(ScalarOp::Less, count).select(later, first)
}

/// Adagrad: the rate shrinks with the sum of squared gradients.
pub fn adagrad(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (decay, epsilon, norm) =
        (cx.float("decay_factor", 0.0), cx.float("epsilon", 1e-6), cx.float("norm_coefficient", 0.0));
    optimize::<5>(cx, |[rate, count, x, gradient, squares]| {
        let to = x.data_type();
        let rate = &rate.cast(to) / &(&(&count.cast(to) * decay) + 1.0);
        let gradient = &(&x * norm) + &gradient;
        let squares = &squares + &(&gradient * &gradient);
        let scale = &squares.unary(ScalarOp::Sqrt) + epsilon;
        vec![&x - &(&(&rate * &gradient) / &scale), squares]
    })
}

/// Adam: running means of gradient and squared gradient, corrected for their start.
pub fn adam(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (alpha, beta, epsilon) = (cx.float("alpha", 0.9), cx.float("beta", 0.999), cx.float("epsilon", 1e-6));
    let (norm, post) = (cx.float("norm_coefficient", 0.0), cx.float("norm_coefficient_post", 0.0));
    optimize::<6>(cx, |[rate, count, x, gradient, mean, squares]| {
        let to = x.data_type();
        let (rate, steps) = (rate.cast(to), count.cast(to));
        let gradient = &(&x * norm) + &gradient;
        let mean = &(&mean * alpha) + &(&gradient * (1.0 - alpha));
        let squares = &(&squares * beta) + &(&(&gradient * &gradient) * (1.0 - beta));
        let scale = &squares.unary(ScalarOp::Sqrt) + epsilon;
        let rest = |base: f64| &x.same(1.0) - &x.same(base).binary(ScalarOp::Pow, &steps);
        let corrected = &(&rate * &rest(beta).unary(ScalarOp::Sqrt)) / &rest(alpha);
        let rate = after_first(&count, &corrected, &rate);
        let new = &x - &(&rate * &(&mean / &scale));
        vec![&new * (1.0 - post), mean, squares]
    })
}

/// Momentum: steps along a running sum of gradients, or beyond it (Nesterov).
pub fn momentum(cx: &mut NodeContext<'_, '_>) -> Imported {
    let required =
        |name: &str| cx.optional_float(name).ok_or_else(|| cx.problem(format!("attribute {name} is needed")));
    let (alpha, beta, norm): (f64, f64, f64) = (required("alpha")?, required("beta")?, required("norm_coefficient")?);
    let nesterov = match cx.text("mode", "").as_str() {
        "standard" => false,
        "nesterov" => true,
        other => return Err::<Vec<Handle>, Problem>(cx.problem(format!("mode '{other}' is unknown"))),
    };
    optimize::<5>(cx, |[rate, count, x, gradient, velocity]| {
        let rate = rate.cast(x.data_type());
        let gradient = &(&x * norm) + &gradient;
        // The first gradient counts fully.
        let share = after_first(&count, &x.same(beta), &x.same(1.0));
        let velocity = &(&velocity * alpha) + &(&share * &gradient);
        let direction = if nesterov { &gradient + &(&velocity * alpha) } else { velocity.clone() };
        vec![&x - &(&rate * &direction), velocity]
    })
}
