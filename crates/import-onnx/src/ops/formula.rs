//! Elementwise formulas over a fixed number of values.

use sinter_ir::Handle;
use sinter_ops::pointwise::Expr;

use crate::context::NodeContext;
use crate::error::Problem;

/// Adds an elementwise operator; the expression gets one operand per value.
///
/// # Errors
/// When a value is no tensor or an operation gets types that it does not take.
pub fn formula<const N: usize>(
    cx: &mut NodeContext<'_, '_>,
    values: [Handle; N],
    expression: impl FnOnce([Expr; N]) -> Expr,
) -> Result<Handle, Problem> {
    let mut operands = Vec::with_capacity(N);
    for (index, &value) in values.iter().enumerate() {
        operands.push(Expr::input(index, cx.data_type(value)?));
    }
    let operands: [Expr; N] = operands.try_into().map_err(|_| cx.problem("a formula has one operand per value"))?;
    cx.pointwise(&values, |_| expression(operands))
}
