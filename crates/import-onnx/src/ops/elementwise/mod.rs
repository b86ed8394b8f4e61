//! Elementwise operators: expressions over scalars.

pub mod activation;
pub mod arithmetic;
pub mod bitwise;
pub mod cast;
pub mod comparison;
pub mod select;
pub mod unary;

use sinter_ir::Handle;
use sinter_ops::pointwise::Expr;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

/// A node of one input that is one expression.
fn of_one(cx: &mut NodeContext<'_, '_>, expression: impl FnOnce(&Expr) -> Expr) -> Imported {
    let x = cx.input(0)?;
    Ok(vec![expression_of_one(cx, x, expression)?])
}

/// An expression over one value.
fn expression_of_one(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    expression: impl FnOnce(&Expr) -> Expr,
) -> Result<Handle, Problem> {
    let data_type = cx.data_type(x)?;
    cx.pointwise(&[x], |_| expression(&Expr::input(0, data_type)))
}

/// An expression over two values.
fn expression_of_two(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    y: Handle,
    expression: impl FnOnce(&Expr, &Expr) -> Expr,
) -> Result<Handle, Problem> {
    let (a, b) = (Expr::input(0, cx.data_type(x)?), Expr::input(1, cx.data_type(y)?));
    cx.pointwise(&[x, y], |_| expression(&a, &b))
}
