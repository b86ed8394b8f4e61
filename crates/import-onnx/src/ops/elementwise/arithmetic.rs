//! Arithmetic of two or more inputs with NumPy broadcasting.

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::elementwise::expression_of_two;

/// Both operands; before version 7 the second one is aligned with `axis` of the first instead of with the last axes.
///
/// # Errors
/// When an input is missing or the alignment is impossible.
pub fn operands(cx: &mut NodeContext<'_, '_>) -> Result<(Handle, Handle), Problem> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    match cx.optional_int("axis") {
        Some(axis) if cx.version < 7 => Ok((a, along_axis(cx, a, b, axis)?)),
        _ => Ok((a, b)),
    }
}

/// Appends axes of size 1 so that the first axis of `b` meets `axis` of `a`.
///
/// # Errors
/// When `b` has more dimensions than `a` has from `axis` on.
pub fn along_axis(cx: &mut NodeContext<'_, '_>, a: Handle, b: Handle, axis: i64) -> Result<Handle, Problem> {
    let (a_rank, b_rank) = (cx.rank(a)?, cx.rank(b)?);
    if b_rank == 0 {
        return Ok(b);
    }
    let axis = cx.axis(axis, a_rank)?;
    let Some(trailing) = a_rank.checked_sub(axis + b_rank) else {
        return Err(cx.problem(format!("{b_rank} dimensions do not fit from axis {axis} of {a_rank} on")));
    };
    let dims = cx.dims(b)?;
    // The broadcasting of old versions is only found in old, static models.
    let sizes: Option<Vec<i64>> = dims.iter().map(sinter_base::Dim::as_constant).collect();
    let mut target = sizes.ok_or_else(|| cx.problem("broadcasting along an axis needs fixed sizes"))?;
    target.extend(std::iter::repeat_n(1, trailing));
    let target = cx.int_list(&target);
    cx.add(sinter_ops::movement::Reshape::default(), &[b, target])
}

macro_rules! binary {
    ($($(#[$doc:meta])* $function:ident => $op:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(cx: &mut NodeContext<'_, '_>) -> Imported {
            let (a, b) = operands(cx)?;
            Ok(vec![expression_of_two(cx, a, b, |a, b| a.binary(ScalarOp::$op, b))?])
        }
    )*};
}

binary! {
    /// Add-14.
    add => Add;
    /// Sub-14.
    sub => Sub;
    /// Mul-14.
    mul => Mul;
    /// Div-14: integers truncate toward zero.
    div => Div;
}

/// Mod-13: remainder with the sign of the divisor, or of the dividend with `fmod`.
pub fn modulo(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b) = operands(cx)?;
    let op = if cx.flag("fmod", false) { ScalarOp::Fmod } else { ScalarOp::Mod };
    if op == ScalarOp::Mod && cx.data_type(a)?.is_float() {
        return Err(cx.problem("floats need fmod = 1"));
    }
    Ok(vec![expression_of_two(cx, a, b, |a, b| a.binary(op, b))?])
}

/// Pow-15: the result has the type of the base; mixed types are computed in the wider float.
pub fn pow(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b) = operands(cx)?;
    let (base, exponent) = (cx.data_type(a)?, cx.data_type(b)?);
    let compute = match (base.is_float(), exponent.is_float()) {
        (true, true) if exponent.bits() > base.bits() => exponent,
        (true, _) => base,
        (false, true) => DataType::F64,
        (false, false) if exponent.bits() > base.bits() => exponent,
        (false, false) => base,
    };
    Ok(vec![expression_of_two(cx, a, b, |a, b| a.cast(compute).binary(ScalarOp::Pow, &b.cast(compute)).cast(base))?])
}

fn variadic(cx: &mut NodeContext<'_, '_>, op: ScalarOp, finish: impl FnOnce(Expr, f64) -> Expr) -> Imported {
    let inputs = cx.inputs_from(0)?;
    let mut operands = Vec::with_capacity(inputs.len());
    for (index, &input) in inputs.iter().enumerate() {
        operands.push(Expr::input(index, cx.data_type(input)?));
    }
    let count: f64 = operands.iter().map(|_| 1.0).sum();
    let Some(total) = operands.into_iter().reduce(|a, b| a.binary(op, &b)) else {
        return Err(cx.problem("at least one input is needed"));
    };
    Ok(vec![cx.pointwise(&inputs, |_| finish(total, count))?])
}

/// Sum-13: of any number of inputs.
pub fn sum(cx: &mut NodeContext<'_, '_>) -> Imported {
    variadic(cx, ScalarOp::Add, |total, _| total)
}

/// Mean-13: of any number of inputs.
pub fn mean(cx: &mut NodeContext<'_, '_>) -> Imported {
    variadic(cx, ScalarOp::Add, |total, count| total / count)
}

/// Max-13: of any number of inputs.
pub fn max(cx: &mut NodeContext<'_, '_>) -> Imported {
    variadic(cx, ScalarOp::Max, |total, _| total)
}

/// Min-13: of any number of inputs.
pub fn min(cx: &mut NodeContext<'_, '_>) -> Imported {
    variadic(cx, ScalarOp::Min, |total, _| total)
}
