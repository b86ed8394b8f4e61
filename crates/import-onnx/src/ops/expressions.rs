//! Elementwise work over a fixed number of operands, for import functions that compute.

use sinter_ir::Handle;
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::NodeContext;
use crate::error::Problem;

/// Adds one expression over `N` operands.
///
/// # Errors
/// When an operand is no tensor or an operation does not take its types.
pub fn elementwise<const N: usize>(
    cx: &mut NodeContext<'_, '_>,
    inputs: [Handle; N],
    expression: impl FnOnce([Expr; N]) -> Expr,
) -> Result<Handle, Problem> {
    let results = elementwise_all(cx, inputs, |operands| vec![expression(operands)])?;
    results.first().copied().ok_or_else(|| cx.problem("an expression without result"))
}

/// Adds several expressions over the same `N` operands.
///
/// # Errors
/// When an operand is no tensor or an operation does not take its types.
pub fn elementwise_all<const N: usize>(
    cx: &mut NodeContext<'_, '_>,
    inputs: [Handle; N],
    expressions: impl FnOnce([Expr; N]) -> Vec<Expr>,
) -> Result<Vec<Handle>, Problem> {
    let mut operands = Vec::with_capacity(N);
    for (index, &input) in inputs.iter().enumerate() {
        operands.push(Expr::input(index, cx.data_type(input)?));
    }
    let operands: [Expr; N] = operands.try_into().map_err(|_| cx.problem("operands of an expression are missing"))?;
    let op = Expr::into_pointwise(&expressions(operands)).map_err(|e| cx.problem(e.to_string()))?;
    cx.add_all(op, &inputs)
}

/// `a == b`.
pub fn equal(a: &Expr, b: &Expr) -> Expr {
    a.binary(ScalarOp::Equal, b)
}
