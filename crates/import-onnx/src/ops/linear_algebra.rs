//! Linear algebra: Gemm-1..13, Einsum-12, Det-11..22.

use sinter_ir::Handle;
use sinter_ops::matmul::{Determinant, Einsum, MatMul};
use sinter_ops::pointwise::Expr;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;

/// A factor that the element type can hold exactly.
fn factor(cx: &NodeContext<'_, '_>, name: &str, of: Handle) -> Result<f64, Problem> {
    let value = cx.float(name, 1.0);
    let data_type = cx.data_type(of)?;
    if !data_type.is_float() && value.fract() != 0.0 {
        return Err(cx.problem(format!("attribute {name} is {value}, but the elements are of type {data_type}")));
    }
    Ok(value)
}

fn scaled(x: &Expr, by: f64) -> Expr {
    if by == 1.0 { x.clone() } else { x * by }
}

/// Gemm: `alpha A' B' + beta C`, with `C` broadcast; `C` may be left out since version 11.
/// Before version 7 an attribute said whether `C` needs broadcasting, which its shape says as well.
pub fn gemm(cx: &mut NodeContext<'_, '_>) -> Imported {
    Ok(vec![matrix_product(cx)?])
}

/// Adds the nodes that compute Gemm.
pub(crate) fn matrix_product(cx: &mut NodeContext<'_, '_>) -> Result<Handle, Problem> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    for (name, operand) in [("A", a), ("B", b)] {
        if let Ok(rank) = cx.rank(operand)
            && rank != 2
        {
            return Err(cx.problem(format!("{name} has {rank} dimensions, a matrix is needed")));
        }
    }
    let (alpha, beta) = (factor(cx, "alpha", a)?, factor(cx, "beta", a)?);
    let op = MatMul { transpose_a: cx.flag("transA", false), transpose_b: cx.flag("transB", false) };
    let product = cx.add(op, &[a, b])?;
    Ok(match cx.optional(2) {
        // By the formula, any `C`, even NaN, is multiplied by 0.
        Some(c) => elementwise(cx, [product, c], |[ab, c]| &scaled(&ab, alpha) + &scaled(&c, beta))?,
        None if alpha == 1.0 => product,
        None => elementwise(cx, [product], |[ab]| scaled(&ab, alpha))?,
    })
}

/// Einsum.
pub fn einsum(cx: &mut NodeContext<'_, '_>) -> Imported {
    let Some(equation) = cx.optional_text("equation") else {
        return Err(cx.problem("attribute equation is needed"));
    };
    let inputs = cx.inputs_from(0)?;
    cx.add_all(Einsum { equation }, &inputs)
}

/// Det.
pub fn determinant(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    cx.add_all(Determinant::default(), &[x])
}
