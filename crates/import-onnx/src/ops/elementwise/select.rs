//! Where-16.

use sinter_ops::pointwise::Expr;

use crate::context::{Imported, NodeContext};

/// Where: the second input where the first holds, else the third; all three broadcast.
pub fn select(cx: &mut NodeContext<'_, '_>) -> Imported {
    let inputs = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let [condition, then, otherwise] = inputs;
    let condition = Expr::input(0, cx.data_type(condition)?);
    let then = Expr::input(1, cx.data_type(then)?);
    let otherwise = Expr::input(2, cx.data_type(otherwise)?);
    Ok(vec![cx.pointwise(&inputs, |_| condition.select(&then, &otherwise))?])
}
