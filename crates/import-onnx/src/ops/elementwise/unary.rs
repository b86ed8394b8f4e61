//! Elementwise operators of one input that are one scalar operation.

use sinter_ops::pointwise::ScalarOp;

use crate::context::{Imported, NodeContext};
use crate::ops::elementwise::of_one;

macro_rules! unary {
    ($($(#[$doc:meta])* $function:ident => $op:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(cx: &mut NodeContext<'_, '_>) -> Imported {
            of_one(cx, |x| x.unary(ScalarOp::$op))
        }
    )*};
}

unary! {
    /// Abs-13: |x|.
    abs => Abs;
    /// Acos-22: inverse cosine.
    acos => Acos;
    /// Acosh-22: inverse hyperbolic cosine.
    acosh => Acosh;
    /// Asin-22: inverse sine.
    asin => Asin;
    /// Asinh-22: inverse hyperbolic sine.
    asinh => Asinh;
    /// Atan-22: inverse tangent.
    atan => Atan;
    /// Atanh-22: inverse hyperbolic tangent.
    atanh => Atanh;
    /// Ceil-13: smallest integer not below x.
    ceil => Ceil;
    /// Cos-22: cosine.
    cos => Cos;
    /// Cosh-22: hyperbolic cosine.
    cosh => Cosh;
    /// Erf-13: error function.
    erf => Erf;
    /// Exp-13: e^x.
    exp => Exp;
    /// Floor-13: largest integer not above x.
    floor => Floor;
    /// IsNaN-20.
    is_nan => IsNan;
    /// Log-13: natural logarithm.
    log => Log;
    /// Neg-13: -x.
    neg => Neg;
    /// Reciprocal-13: 1 / x.
    reciprocal => Reciprocal;
    /// Round-22: nearest integer, ties to even.
    round => Round;
    /// Sigmoid-13: 1 / (1 + e^-x).
    sigmoid => Sigmoid;
    /// Sign-13: -1, 0 or 1.
    sign => Sign;
    /// Sin-22: sine.
    sin => Sin;
    /// Sinh-22: hyperbolic sine.
    sinh => Sinh;
    /// Softplus-22: ln(1 + e^x).
    softplus => Softplus;
    /// Sqrt-13: square root.
    sqrt => Sqrt;
    /// Tan-22: tangent.
    tan => Tan;
    /// Tanh-13: hyperbolic tangent.
    tanh => Tanh;
}

/// IsInf-20: either infinity, or only one of them.
pub fn is_inf(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (negative, positive) = (cx.flag("detect_negative", true), cx.flag("detect_positive", true));
    of_one(cx, |x| {
        let up = x.unary(ScalarOp::IsPositiveInfinity);
        let down = x.unary(ScalarOp::IsNegativeInfinity);
        match (negative, positive) {
            (true, true) => up.binary(ScalarOp::Or, &down),
            (false, true) => up,
            (true, false) => down,
            (false, false) => up.binary(ScalarOp::And, &down),
        }
    })
}

/// Not-1: logical negation.
pub fn not(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_one(cx, |x| x.binary(ScalarOp::Xor, &x.same(1.0)))
}

/// Identity-25: any value under another name.
pub fn identity(cx: &mut NodeContext<'_, '_>) -> Imported {
    Ok(vec![cx.input(0)?])
}
