//! Activations, written as their formulas; a pass may recognize the formulas again.

use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::ops::elementwise::{expression_of_two, of_one};

fn positive(x: &Expr) -> Expr {
    x.same(0.0).binary(ScalarOp::Less, x)
}

/// Relu-14: max(x, 0).
pub fn relu(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_one(cx, |x| x.binary(ScalarOp::Max, &x.same(0.0)))
}

/// LeakyRelu-16: x where x >= 0, else alpha x.
pub fn leaky_relu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", 0.01);
    of_one(cx, |x| x.binary(ScalarOp::Less, &x.same(0.0)).select(&(x * alpha), x))
}

/// PRelu-16: x where x >= 0, else slope x; the slope broadcasts to x.
pub fn prelu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, slope) = (cx.input(0)?, cx.input(1)?);
    // Before version 7 a slope per channel was a list; since then it broadcasts like any operand.
    let slope = if cx.version < 7 { super::arithmetic::along_axis(cx, x, slope, 1)? } else { slope };
    Ok(vec![expression_of_two(cx, x, slope, |x, slope| {
        x.binary(ScalarOp::Less, &x.same(0.0)).select(&(x * slope), x)
    })?])
}

/// Elu-22: x where x > 0, else alpha (e^x - 1).
pub fn elu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", 1.0);
    of_one(cx, |x| positive(x).select(x, &((x.unary(ScalarOp::Exp) - 1.0) * alpha)))
}

/// Celu-12: max(0, x) + min(0, alpha (e^(x / alpha) - 1)).
pub fn celu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", 1.0);
    of_one(cx, |x| {
        let negative = ((x / alpha).unary(ScalarOp::Exp) - 1.0) * alpha;
        x.binary(ScalarOp::Max, &x.same(0.0)) + negative.binary(ScalarOp::Min, &x.same(0.0))
    })
}

/// Selu-22: gamma x where x > 0, else gamma alpha (e^x - 1).
pub fn selu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", 1.673_263_192_176_818_8);
    let gamma = cx.float("gamma", 1.050_701_022_148_132_3);
    of_one(cx, |x| positive(x).select(&(x * gamma), &((x.unary(ScalarOp::Exp) * alpha - alpha) * gamma)))
}

/// Gelu-20: x Phi(x), by erf or by the tanh approximation.
pub fn gelu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let approximate = cx.text("approximate", "none");
    match approximate.as_str() {
        "none" => of_one(cx, |x| {
            let phi = (x / std::f64::consts::SQRT_2).unary(ScalarOp::Erf) + 1.0;
            x * &(phi * 0.5)
        }),
        "tanh" => of_one(cx, |x| {
            let cube = &(x * x) * x;
            let inner = (cube * 0.044715 + x.clone()) * (2.0 / std::f64::consts::PI).sqrt();
            x * &((inner.unary(ScalarOp::Tanh) + 1.0) * 0.5)
        }),
        other => Err(cx.problem(format!("attribute approximate '{other}' is unknown"))),
    }
}

/// HardSigmoid-22: max(0, min(1, alpha x + beta)).
pub fn hard_sigmoid(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (alpha, beta) = (cx.float("alpha", f64::from(0.2f32)), cx.float("beta", 0.5));
    of_one(cx, |x| clamped(&(x * alpha + beta), 0.0, 1.0))
}

/// HardSwish-22: x max(0, min(1, x / 6 + 1 / 2)).
pub fn hard_swish(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_one(cx, |x| x * &clamped(&(x * (1.0 / 6.0) + 0.5), 0.0, 1.0))
}

fn clamped(x: &Expr, low: f64, high: f64) -> Expr {
    x.binary(ScalarOp::Min, &x.same(high)).binary(ScalarOp::Max, &x.same(low))
}

/// Mish-22: x tanh(softplus(x)).
pub fn mish(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_one(cx, |x| x * &x.unary(ScalarOp::Softplus).unary(ScalarOp::Tanh))
}

/// Swish-24: x sigmoid(alpha x).
pub fn swish(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", 1.0);
    of_one(cx, |x| x * &(x * alpha).unary(ScalarOp::Sigmoid))
}

/// Softsign-22: x / (1 + |x|).
pub fn softsign(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_one(cx, |x| x / &(x.unary(ScalarOp::Abs) + 1.0))
}

/// ThresholdedRelu-22: x where x > alpha, else 0.
pub fn thresholded_relu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", 1.0);
    of_one(cx, |x| x.same(alpha).binary(ScalarOp::Less, x).select(x, &x.same(0.0)))
}

/// Shrink-9: x + bias where x < -lambd, x - bias where x > lambd, else 0.
pub fn shrink(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (bias, lambda) = (cx.float("bias", 0.0), cx.float("lambd", 0.5));
    of_one(cx, |x| {
        let high = x.same(lambda).binary(ScalarOp::Less, x).select(&(x - bias), &x.same(0.0));
        x.binary(ScalarOp::Less, &x.same(-lambda)).select(&(x + bias), &high)
    })
}

/// Clip-13: min(max(x, low), high); either bound may be left out. Before version 11 the bounds are attributes.
pub fn clip(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    if cx.version < 11 {
        let (low, high) = (cx.optional_float("min"), cx.optional_float("max"));
        return of_one(cx, |x| {
            let raised = low.map_or_else(|| x.clone(), |low| x.binary(ScalarOp::Max, &x.same(low)));
            high.map_or_else(|| raised.clone(), |high| raised.binary(ScalarOp::Min, &x.same(high)))
        });
    }
    let mut y = x;
    for (bound, op) in [(cx.optional(1), ScalarOp::Max), (cx.optional(2), ScalarOp::Min)] {
        if let Some(bound) = bound {
            y = expression_of_two(cx, y, bound, |y, bound| y.binary(op, bound))?;
        }
    }
    Ok(vec![y])
}
