//! Float operators that ONNX Runtime's optimizer fuses, taken apart again: FusedConv, FusedGemm, FusedMatMul, Gelu,
//! FastGelu, QuickGelu, BiasGelu, SimplifiedLayerNormalization, SkipLayerNormalization,
//! SkipSimplifiedLayerNormalization.

use sinter_ir::Handle;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::conv::convolution;
use crate::ops::expressions::elementwise;
use crate::ops::linear_algebra::matrix_product;
use crate::ops::norm::{epsilon, layer_normalization_of, rms_normalization_of};

fn clamped(x: &Expr, low: f64, high: f64) -> Expr {
    x.binary(ScalarOp::Max, &x.same(low)).binary(ScalarOp::Min, &x.same(high))
}

/// The activation that an attribute names, with its parameters alpha, beta and gamma where they are given.
fn activated(cx: &mut NodeContext<'_, '_>, x: Handle, parameters: [Option<f64>; 3]) -> Result<Handle, Problem> {
    let name = cx.text("activation", "");
    let [alpha, beta, gamma] = parameters;
    match name.as_str() {
        "" => Ok(x),
        "Relu" => elementwise(cx, [x], |[x]| x.binary(ScalarOp::Max, &x.same(0.0))),
        "Tanh" => elementwise(cx, [x], |[x]| x.unary(ScalarOp::Tanh)),
        "Sigmoid" => elementwise(cx, [x], |[x]| x.unary(ScalarOp::Sigmoid)),
        "LeakyRelu" => {
            let alpha = alpha.unwrap_or(f64::from(0.01f32));
            elementwise(cx, [x], |[x]| x.binary(ScalarOp::Less, &x.same(0.0)).select(&(&x * alpha), &x))
        }
        "Clip" => {
            let (low, high) = (alpha.unwrap_or(f64::NEG_INFINITY), beta.unwrap_or(f64::INFINITY));
            elementwise(cx, [x], |[x]| clamped(&x, low, high))
        }
        "HardSigmoid" => {
            let (alpha, beta) = (alpha.unwrap_or(f64::from(0.2f32)), beta.unwrap_or(0.5));
            elementwise(cx, [x], |[x]| clamped(&(&x * alpha + beta), 0.0, 1.0))
        }
        "HardSwish" => {
            let (alpha, beta) = (alpha.unwrap_or(1.0 / 6.0), beta.unwrap_or(0.5));
            elementwise(cx, [x], |[x]| &x * &clamped(&(&x * alpha + beta), 0.0, 1.0))
        }
        "Softplus" => elementwise(cx, [x], |[x]| x.unary(ScalarOp::Softplus)),
        "Softsign" => elementwise(cx, [x], |[x]| &x / &(x.unary(ScalarOp::Abs) + 1.0)),
        "Elu" | "Selu" => {
            // A scale of 1 leaves Elu.
            let (usual_alpha, usual_gamma) =
                if name == "Elu" { (1.0, 1.0) } else { (1.673_263_192_176_818_8, 1.050_701_022_148_132_3) };
            let (alpha, gamma) = (alpha.unwrap_or(usual_alpha), gamma.unwrap_or(usual_gamma));
            elementwise(cx, [x], |[x]| {
                let positive = x.same(0.0).binary(ScalarOp::Less, &x);
                positive.select(&(&x * gamma), &((x.unary(ScalarOp::Exp) - 1.0) * (alpha * gamma)))
            })
        }
        "ThresholdedRelu" => {
            let alpha = alpha.unwrap_or(1.0);
            elementwise(cx, [x], |[x]| x.same(alpha).binary(ScalarOp::Less, &x).select(&x, &x.same(0.0)))
        }
        other => Err(cx.problem(format!("activation '{other}' is unknown"))),
    }
}

/// FusedConv: `activation(conv(x) + z)`.
pub fn fused_conv(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, w, bias, addend) = (cx.input(0)?, cx.input(1)?, cx.optional(2), cx.optional(3));
    let op = convolution(cx, w)?;
    let y = cx.add_optional(op, &[Some(x), Some(w), bias])?;
    let mut y = y.first().copied().ok_or_else(|| cx.problem("a convolution has one result"))?;
    if let Some(addend) = addend {
        y = elementwise(cx, [y, addend], |[y, z]| y + z)?;
    }
    let listed = cx.floats("activation_params").unwrap_or_default();
    Ok(vec![activated(cx, y, [0, 1, 2].map(|index| listed.get(index).copied()))?])
}

/// FusedGemm: `activation(gemm(a, b, c))`.
pub fn fused_gemm(cx: &mut NodeContext<'_, '_>) -> Imported {
    let y = matrix_product(cx)?;
    let parameters =
        ["activation_alpha", "activation_beta", "activation_gamma"].map(|attribute| cx.optional_float(attribute));
    Ok(vec![activated(cx, y, parameters)?])
}

/// Moves the first axis of [rows, batch..., columns] behind the batch.
fn batch_first(cx: &mut NodeContext<'_, '_>, x: Handle) -> Result<Handle, Problem> {
    let rank = cx.rank(x)?;
    let Some(last) = rank.checked_sub(1).filter(|&last| last > 0) else {
        return Err(cx.problem(format!("{rank} dimensions have no batch to move")));
    };
    let permutation: Vec<usize> = (1..last).chain([0, last]).collect();
    cx.add(Transpose { permutation: Some(permutation) }, &[x])
}

/// FusedMatMul: `alpha a b`, with operands transposed in their last two axes or in their batch.
pub fn fused_matmul(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.flag("transBatchA", false) {
        a = batch_first(cx, a)?;
    }
    if cx.flag("transBatchB", false) {
        b = batch_first(cx, b)?;
    }
    let op = MatMul { transpose_a: cx.flag("transA", false), transpose_b: cx.flag("transB", false) };
    let y = cx.add(op, &[a, b])?;
    let alpha = cx.float("alpha", 1.0);
    if alpha == 1.0 { Ok(vec![y]) } else { Ok(vec![elementwise(cx, [y], |[y]| y * alpha)?]) }
}

/// `x Phi(x)` with the normal distribution Phi.
fn by_error_function(x: &Expr) -> Expr {
    let phi = ((x / std::f64::consts::SQRT_2).unary(ScalarOp::Erf) + 1.0) * 0.5;
    x * &phi
}

/// The same with Phi approximated by tanh.
fn by_tanh(x: &Expr) -> Expr {
    let cube = &(x * x) * x;
    let inner = (cube * 0.044715 + x.clone()) * std::f64::consts::FRAC_2_PI.sqrt();
    x * &((inner.unary(ScalarOp::Tanh) + 1.0) * 0.5)
}

/// Gelu of ONNX Runtime.
pub fn gelu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    Ok(vec![elementwise(cx, [x], |[x]| by_error_function(&x))?])
}

/// BiasGelu: of the sum of both inputs.
pub fn bias_gelu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, bias) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![elementwise(cx, [x, bias], |[x, bias]| by_error_function(&(x + bias)))?])
}

/// FastGelu: by tanh, with an optional bias.
pub fn fast_gelu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    Ok(vec![match cx.optional(1) {
        None => elementwise(cx, [x], |[x]| by_tanh(&x))?,
        Some(bias) => elementwise(cx, [x, bias], |[x, bias]| by_tanh(&(x + bias)))?,
    }])
}

/// QuickGelu: `x sigmoid(alpha x)`.
pub fn quick_gelu(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let alpha = cx.float("alpha", f64::from(1.702f32));
    Ok(vec![elementwise(cx, [x], |[x]| &x * &(&x * alpha).unary(ScalarOp::Sigmoid))?])
}

/// SimplifiedLayerNormalization: without mean and bias.
pub fn simplified_layer_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let (axis, epsilon) = (cx.int("axis", -1), epsilon(cx));
    rms_normalization_of(cx, x, Some(scale), None, axis, epsilon)
}

/// The sum that the skip forms normalize: input, skip and a bias that may be left out.
fn skip_sum(cx: &mut NodeContext<'_, '_>, bias: Option<Handle>) -> Result<Handle, Problem> {
    let (x, skip) = (cx.input(0)?, cx.input(1)?);
    match bias {
        None => elementwise(cx, [x, skip], |[x, skip]| x + skip),
        Some(bias) => elementwise(cx, [x, skip, bias], |[x, skip, bias]| x + skip + bias),
    }
}

/// The attribute `epsilon` of forms whose default is the float32 nearest to 1e-12.
pub fn skip_epsilon(cx: &NodeContext<'_, '_>) -> f64 {
    cx.float("epsilon", f64::from(1e-12f32))
}

/// SkipLayerNormalization: outputs result, mean, inverse deviation, and the sum itself.
pub fn skip_layer_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (scale, shift, bias) = (cx.input(2)?, cx.optional(3), cx.optional(4));
    let sum = skip_sum(cx, bias)?;
    let epsilon = skip_epsilon(cx);
    let mut results = layer_normalization_of(cx, sum, Some(scale), shift, -1, epsilon)?;
    if results.len() == 3 {
        results.push(sum);
    }
    Ok(results)
}

/// SkipSimplifiedLayerNormalization: the same without mean; its second output is never computed.
pub fn skip_simplified_layer_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    if cx.wants_output(1) {
        return Err(cx.problem("output 1 (mean) does not exist in this form"));
    }
    let (scale, bias) = (cx.input(2)?, cx.optional(3));
    let sum = skip_sum(cx, bias)?;
    let epsilon = skip_epsilon(cx);
    let results = rms_normalization_of(cx, sum, Some(scale), None, -1, epsilon)?;
    match results.as_slice() {
        // The unnamed second output gets an unread value.
        &[y, inverse] => Ok(vec![y, inverse, inverse, sum]),
        _ => Ok(results),
    }
}
