//! Activation functions from their formulas, in any exporter's spelling: GELU by erf and by tanh, Swish, hard sigmoid
//! and hard Swish, Mish, and the sigmoid and softplus inside them.
//!
//! The function is computed with one rounding where the formula has several, and equals the formula at the ends: NaN at
//! minus infinity, which is infinity times 0. Does not fire where parts of the formula are
//! quantized: the function cannot express that rounding. Sources: Hendrycks and Gimpel 2016 (GELU),
//! Ramachandran et al. 2017 (Swish), Howard et al. 2019 (hard Swish), Misra 2019 (Mish).

use std::sync::LazyLock;

use sinter_ir::pattern::Pattern;
use sinter_ir::{Graph, Patch};
use sinter_ops::Op;
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::pass::{Miss, miss};

/// A function and what it looks like.
struct Spelling {
    function: ScalarOp,
    /// Its argument.
    x: Pattern,
    formula: Pattern,
}

static SPELLINGS: LazyLock<Vec<Spelling>> = LazyLock::new(|| {
    use ScalarOp::{Erf, Exp, HardSigmoid, Log, Max, Min, Neg, Pow, Reciprocal, Sigmoid, Softplus, Tanh};
    let number = Pattern::number;
    let either = Pattern::either;
    let product = Pattern::product;
    let spell = |function: ScalarOp, formula: &dyn Fn(&Pattern) -> Pattern| {
        let x = Pattern::any();
        let formula = formula(&x);
        Spelling { function, x, formula }
    };
    // 1 / (1 + e^-x)
    let sigmoid = |x: &Pattern| {
        let below = &either(&[&x.unary(Neg), &(x * -1.0)]).unary(Exp) + 1.0;
        either(&[&(&number(1.0) / &below), &below.unary(Reciprocal)])
    };
    let any_sigmoid = |x: &Pattern| either(&[&x.unary(Sigmoid), &sigmoid(x)]);
    // x Phi(x)
    let gelu = |x: &Pattern| {
        let twice_phi = &x.scaled(std::f64::consts::FRAC_1_SQRT_2).unary(Erf) + 1.0;
        either(&[&product(x, &number(0.5), &twice_phi), &(&(x * &twice_phi) / 2.0)])
    };
    let gelu_tanh = |x: &Pattern| {
        let cubed = either(&[&product(x, x, x), &x.binary(Pow, &number(3.0)), &(x * &x.square())]);
        let scaled_cube = either(&[&cubed.scaled(0.044715), &product(&number(0.044715), x, &x.square())]);
        let scaled_cube = either(&[&scaled_cube, &(&(&(x * 0.044715) * x) * x)]);
        let root = (2.0 / std::f64::consts::PI).sqrt();
        let inner = either(&[
            &(x + &scaled_cube).scaled(root),
            &product(x, &number(root), &(&x.square().scaled(0.044715) + 1.0)),
        ]);
        let twice_phi = &inner.unary(Tanh) + 1.0;
        product(x, &number(0.5), &twice_phi)
    };
    let clipped = |x: &Pattern, low: f64, high: f64| {
        either(&[
            &x.binary(Max, &number(low)).binary(Min, &number(high)),
            &x.binary(Min, &number(high)).binary(Max, &number(low)),
        ])
    };
    // clip(x + 3, 0, 6), to be divided by 6
    let shifted = |x: &Pattern| clipped(&(x + 3.0), 0.0, 6.0);
    let hard_sigmoid =
        |x: &Pattern| either(&[&clipped(&(&x.scaled(1.0 / 6.0) + 0.5), 0.0, 1.0), &shifted(x).scaled(1.0 / 6.0)]);
    let hard_swish = |x: &Pattern| {
        either(&[
            &(x * &hard_sigmoid(x)),
            &(x * &x.unary(HardSigmoid)),
            &(x * &shifted(x)).scaled(1.0 / 6.0),
            &(&x.scaled(1.0 / 6.0) * &shifted(x)),
        ])
    };
    let softplus = |x: &Pattern| (&x.unary(Exp) + 1.0).unary(Log);
    let any_softplus = |x: &Pattern| either(&[&x.unary(Softplus), &softplus(x)]);
    vec![
        spell(ScalarOp::Gelu, &gelu),
        spell(ScalarOp::GeluTanh, &gelu_tanh),
        spell(ScalarOp::Swish, &|x| {
            let below = &either(&[&x.unary(Neg), &(x * -1.0)]).unary(Exp) + 1.0;
            either(&[&(x * &any_sigmoid(x)), &(x / &below)])
        }),
        spell(ScalarOp::HardSwish, &hard_swish),
        spell(ScalarOp::HardSigmoid, &hard_sigmoid),
        spell(ScalarOp::Mish, &|x| x * &any_softplus(x).unary(Tanh)),
        spell(ScalarOp::Sigmoid, &sigmoid),
        spell(ScalarOp::Softplus, &softplus),
    ]
});

/// The same with quantized parts, for reports of near misses.
static NEAR: LazyLock<Vec<(ScalarOp, Pattern)>> = LazyLock::new(|| {
    let stored = |part: &Pattern| {
        let quantized = Pattern::node(|op| matches!(op, Op::Quantize(_)), &[part]);
        Pattern::node(|op| matches!(op, Op::Dequantize(_)), &[&quantized])
    };
    let [x, factor, one] = [(); 3].map(|()| Pattern::any());
    let erf = Pattern::either(&[&(&x * &factor), &(&x / &factor)]).unary(ScalarOp::Erf);
    let twice_phi = &stored(&erf) + &one;
    let gelu = &x * &Pattern::either(&[&twice_phi, &stored(&twice_phi)]);
    let y = Pattern::any();
    vec![(ScalarOp::Gelu, gelu), (ScalarOp::Swish, &y * &stored(&y.unary(ScalarOp::Sigmoid)))]
});

/// Recognises the function whose last operation is this node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (Op::Pointwise(_), [result]) = (&node.op, &node.outputs[..]) else { return Ok(false) };
    let data_type = graph.ty(*result).data_type();
    if !data_type.is_float() {
        return Ok(false);
    }
    for spelling in SPELLINGS.iter() {
        let Some(found) = spelling.formula.find(graph, *result) else { continue };
        let Some(x) = found.value(&spelling.x) else { continue };
        if graph.ty(x).data_type() != data_type {
            miss!("its argument is of type {}, its result of type {data_type}", graph.ty(x).data_type());
        }
        let function = Expr::input(0, data_type).unary(spelling.function);
        let op = Expr::into_pointwise(&[function]).map_err(|e| Miss(e.to_string()))?;
        patch.set_origins(found.nodes().iter().copied());
        let recognised = patch.add_one(op, &[x])?;
        patch.replace(*result, recognised);
        return Ok(true);
    }
    if let Some((function, _)) = NEAR.iter().find(|(_, formula)| formula.find(graph, *result).is_some()) {
        miss!("parts of {} are quantized", function.name());
    }
    Ok(false)
}
