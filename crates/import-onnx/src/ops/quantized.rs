//! Operators on stored values: ConvInteger-10, MatMulInteger-10, QLinearConv-10, QLinearMatMul-10..21 and those of ONNX
//! Runtime.
//!
//! The integer forms convert to i32, subtract the zero points and stay exact. The linear forms are written as what they
//! mean: dequantize, the float operator, quantize.

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Reshape, Shape, Transpose};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode};
use sinter_ops::reduce::Softmax;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::conv::convolution;
use crate::ops::expressions::elementwise;
use crate::ops::pool::window;
use crate::ops::quantize::{dequantized, dequantized_matrix, dynamically_quantized, is_single, quantized};
use crate::ops::sizes::flattened;

/// Stored integers without their zero point, as i32.
fn centred(cx: &mut NodeContext<'_, '_>, x: Handle, zero_point: Option<Handle>) -> Result<Handle, Problem> {
    match zero_point {
        None => cx.cast(x, DataType::I32),
        Some(zero) => elementwise(cx, [x, zero], |[x, zero]| x.cast(DataType::I32) - zero.cast(DataType::I32)),
    }
}

/// A list as the first of `rank` axes, so that it broadcasts along all others; a single element stays as it is.
fn leading(cx: &mut NodeContext<'_, '_>, list: Handle, rank: usize) -> Result<Handle, Problem> {
    if is_single(cx, list) || cx.rank(list)? != 1 {
        return Ok(list);
    }
    let mut target = vec![-1];
    target.extend(std::iter::repeat_n(1, rank.saturating_sub(1)));
    let target = cx.int_list(&target);
    cx.add(Reshape::default(), &[list, target])
}

/// ConvInteger: the weight's zero point may be one per output channel.
pub fn conv_integer(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let op = convolution(cx, w)?;
    let rank = cx.rank(w)?;
    let w_zero = cx.optional(3).map(|zero| leading(cx, zero, rank)).transpose()?;
    let x_zero = cx.optional(2);
    let (x, w) = (centred(cx, x, x_zero)?, centred(cx, w, w_zero)?);
    cx.add_all(op, &[x, w])
}

/// MatMulInteger: zero points per row of a, per column of b.
pub fn matmul_integer(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let a_zero = cx.optional(2).map(|zero| leading(cx, zero, 2)).transpose()?;
    let b_zero = cx.optional(3);
    let (a, b) = (centred(cx, a, a_zero)?, centred(cx, b, b_zero)?);
    cx.add_all(MatMul::default(), &[a, b])
}

/// The type of a result: that of its zero point, or of `like` without one.
fn stored_type(cx: &NodeContext<'_, '_>, zero_point: Option<Handle>, like: Handle) -> Result<DataType, Problem> {
    cx.data_type(zero_point.unwrap_or(like))
}

/// QLinearConv: the bias is stored as i32 with the product of both scales.
pub fn qlinear_conv(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, x_scale, x_zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let (w, w_scale, w_zero) = (cx.input(3)?, cx.input(4)?, cx.optional(5));
    let (y_scale, y_zero) = (cx.input(6)?, cx.optional(7));
    if cx.flag("channels_last", false) {
        return Err(cx.problem("channels_last = 1 is an intermediate form of ONNX Runtime; export the original model"));
    }
    let op = convolution(cx, w)?;
    let bias = match cx.optional(8) {
        None => None,
        Some(bias) => {
            let scale = elementwise(cx, [x_scale, w_scale], |[a, b]| a * b)?;
            Some(dequantized(cx, bias, scale, None, 0)?)
        }
    };
    let data_type = stored_type(cx, y_zero, x)?;
    let x = dequantized(cx, x, x_scale, x_zero, 1)?;
    let w = dequantized(cx, w, w_scale, w_zero, 0)?;
    let y = cx.add_optional(op, &[Some(x), Some(w), bias])?;
    let y = y.first().copied().ok_or_else(|| cx.problem("a convolution has one result"))?;
    Ok(vec![quantized(cx, y, y_scale, y_zero, data_type)?])
}

/// QLinearMatMul: scales per tensor, per row of a, per column of b.
pub fn qlinear_matmul(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, a_scale, a_zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let (b, b_scale, b_zero) = (cx.input(3)?, cx.input(4)?, cx.optional(5));
    let (y_scale, y_zero) = (cx.input(6)?, cx.optional(7));
    let data_type = stored_type(cx, y_zero, a)?;
    let a = dequantized_matrix(cx, a, a_scale, a_zero, 2)?;
    let b = dequantized_matrix(cx, b, b_scale, b_zero, 1)?;
    let y = cx.add(MatMul::default(), &[a, b])?;
    if !is_single(cx, y_scale) {
        return Err(cx.problem(format!("the result's scale must be a single number, found {}", cx.ty(y_scale))));
    }
    Ok(vec![quantized(cx, y, y_scale, y_zero, data_type)?])
}

/// The real values of the stored operand whose tensor, scale and zero point stand at `first`.
fn operand(cx: &mut NodeContext<'_, '_>, first: usize) -> Result<Handle, Problem> {
    let (x, scale, zero) = (cx.input(first)?, cx.input(first + 1)?, cx.optional(first + 2));
    dequantized(cx, x, scale, zero, 1)
}

/// Stores a result with the scale and zero point that stand at `first`, by default in the type of input 0.
fn result(cx: &mut NodeContext<'_, '_>, y: Handle, first: usize) -> Imported {
    let (scale, zero) = (cx.input(first)?, cx.optional(first + 1));
    let data_type = stored_type(cx, zero, cx.input(0)?)?;
    Ok(vec![quantized(cx, y, scale, zero, data_type)?])
}

fn of_two(cx: &mut NodeContext<'_, '_>, op: ScalarOp) -> Imported {
    let (a, b) = (operand(cx, 0)?, operand(cx, 3)?);
    let y = elementwise(cx, [a, b], |[a, b]| a.binary(op, &b))?;
    result(cx, y, 6)
}

fn of_one(cx: &mut NodeContext<'_, '_>, expression: impl FnOnce(&Expr) -> Expr) -> Imported {
    let x = operand(cx, 0)?;
    let y = elementwise(cx, [x], |[x]| expression(&x))?;
    result(cx, y, 3)
}

/// QLinearAdd of ONNX Runtime.
pub fn qlinear_add(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_two(cx, ScalarOp::Add)
}

/// QLinearMul of ONNX Runtime.
pub fn qlinear_mul(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_two(cx, ScalarOp::Mul)
}

/// QLinearLeakyRelu of ONNX Runtime.
pub fn qlinear_leaky_relu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let alpha = cx.float("alpha", f64::from(0.01f32));
    of_one(cx, |x| x.binary(ScalarOp::Less, &x.same(0.0)).select(&(x * alpha), x))
}

/// QLinearSigmoid of ONNX Runtime.
pub fn qlinear_sigmoid(cx: &mut NodeContext<'_, '_>) -> Imported {
    of_one(cx, |x| x.unary(ScalarOp::Sigmoid))
}

/// QLinearWhere of ONNX Runtime: condition, then two stored operands.
pub fn qlinear_where(cx: &mut NodeContext<'_, '_>) -> Imported {
    let condition = cx.input(0)?;
    let (x, y) = (operand(cx, 1)?, operand(cx, 4)?);
    let chosen = elementwise(cx, [condition, x, y], |[c, x, y]| c.select(&x, &y))?;
    let (scale, zero) = (cx.input(7)?, cx.optional(8));
    let data_type = stored_type(cx, zero, cx.input(1)?)?;
    Ok(vec![quantized(cx, chosen, scale, zero, data_type)?])
}

/// QLinearConcat of ONNX Runtime: scale and zero point of the result, then tensor, scale and zero point of each part.
pub fn qlinear_concat(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (scale, zero) = (cx.input(0)?, cx.input(1)?);
    let Some(axis) = cx.optional_int("axis") else {
        return Err(cx.problem("attribute axis is needed"));
    };
    if cx.input_count() % 3 != 2 {
        return Err(cx.problem(format!("{} inputs are no whole number of parts", cx.input_count())));
    }
    let mut parts = Vec::new();
    for first in (2..cx.input_count()).step_by(3) {
        parts.push(operand(cx, first)?);
    }
    let joined = cx.add(Concat { axis }, &parts)?;
    let data_type = cx.data_type(zero)?;
    Ok(vec![quantized(cx, joined, scale, Some(zero), data_type)?])
}

/// Pools with channels moved to axis 1 and back where the model keeps them last.
fn pooled(cx: &mut NodeContext<'_, '_>, op: Pool) -> Imported {
    let x = operand(cx, 0)?;
    if !cx.flag("channels_last", false) {
        let y = cx.add(op, &[x])?;
        return result(cx, y, 3);
    }
    let rank = cx.rank(x)?;
    let Some(last) = rank.checked_sub(1).filter(|&last| last > 0) else {
        return Err(cx.problem(format!("channels cannot be last of {rank} dimensions")));
    };
    let inward: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
    let outward: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let x = cx.add(Transpose { permutation: Some(inward) }, &[x])?;
    let y = cx.add(op, &[x])?;
    let y = cx.add(Transpose { permutation: Some(outward) }, &[y])?;
    result(cx, y, 3)
}

/// QLinearAveragePool of ONNX Runtime.
pub fn qlinear_average_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    let mode = PoolMode::Average { count_padding: cx.flag("count_include_pad", false) };
    let window = Some(window(cx)?);
    pooled(cx, Pool { mode, window })
}

/// QLinearGlobalAveragePool of ONNX Runtime.
pub fn qlinear_global_average_pool(cx: &mut NodeContext<'_, '_>) -> Imported {
    pooled(cx, Pool { mode: PoolMode::Average { count_padding: false }, window: None })
}

/// QLinearSoftmax of ONNX Runtime: `opset` says which version's meaning of `axis` holds.
pub fn qlinear_softmax(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = operand(cx, 0)?;
    let axis = cx.int("axis", -1);
    let y = if cx.int("opset", 13) >= 13 {
        cx.add(Softmax { axis, log: false }, &[x])?
    } else {
        // All axes from the given one on are one.
        let shape = cx.add(Shape::default(), &[x])?;
        let matrix = flattened(cx, x, axis)?;
        let rows = cx.add(Softmax { axis: -1, log: false }, &[matrix])?;
        cx.add(Reshape { allow_zero: true }, &[rows, shape])?
    };
    result(cx, y, 3)
}

/// QGemm of ONNX Runtime: `alpha A B + C`, C stored with the scale `alpha scale_A scale_B`; without a scale of its own
/// the result stays real.
pub fn qgemm(cx: &mut NodeContext<'_, '_>) -> Imported {
    let op = MatMul { transpose_a: cx.flag("transA", false), transpose_b: cx.flag("transB", false) };
    let alpha = cx.float("alpha", 1.0);
    let (a_scale, b, b_scale, b_zero) = (cx.input(1)?, cx.input(3)?, cx.input(4)?, cx.optional(5));
    let a = operand(cx, 0)?;
    let b = dequantized(cx, b, b_scale, b_zero, if op.transpose_b { 0 } else { 1 })?;
    let product = cx.add(op, &[a, b])?;
    let y = match cx.optional(6) {
        None => elementwise(cx, [product], |[p]| p * alpha)?,
        Some(c) => elementwise(cx, [product, c, a_scale, b_scale], |[p, c, a, b]| {
            let addend = c.cast(p.data_type()) * (a * b);
            (p + addend) * alpha
        })?,
    };
    if cx.optional(7).is_some() { result(cx, y, 7) } else { Ok(vec![y]) }
}

/// Adds a bias if there is one.
///
/// # Errors
/// When the types differ.
pub fn biased(cx: &mut NodeContext<'_, '_>, y: Handle, bias: Option<Handle>) -> Imported {
    match bias {
        None => Ok(vec![y]),
        Some(bias) => Ok(vec![elementwise(cx, [y, bias], |[y, b]| y + b)?]),
    }
}

/// DynamicQuantizeMatMul of ONNX Runtime: a is quantized on the fly.
pub fn dynamic_quantize_matmul(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b, b_scale, b_zero, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3), cx.optional(4));
    let [a, a_scale, a_zero] = dynamically_quantized(cx, a)?;
    let a = dequantized(cx, a, a_scale, Some(a_zero), 1)?;
    let b = dequantized_matrix(cx, b, b_scale, b_zero, 1)?;
    let y = cx.add(MatMul::default(), &[a, b])?;
    biased(cx, y, bias)
}

/// MatMulIntegerToFloat of ONNX Runtime.
pub fn matmul_integer_to_float(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b, a_scale, b_scale) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let (a_zero, b_zero, bias) = (cx.optional(4), cx.optional(5), cx.optional(6));
    let a = dequantized_matrix(cx, a, a_scale, a_zero, 1)?;
    let b = dequantized_matrix(cx, b, b_scale, b_zero, 1)?;
    let y = cx.add(MatMul::default(), &[a, b])?;
    biased(cx, y, bias)
}
