//! Random numbers: RandomUniform-1..22, RandomUniformLike-1..22, RandomNormal-1..22, RandomNormalLike-1..22,
//! Bernoulli-15..22, Multinomial-7..22, Dropout-7..22.

use sinter_base::{DataType, Tensor};
use sinter_ir::Handle;
use sinter_ops::movement::{Concat, Expand, Shape, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::random::{Distribution, RandomFill};
use sinter_ops::reduce::{Cumulative, Reduce, ReduceKind, Softmax};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::{elementwise, elementwise_all};
use crate::ops::sizes::{as_scalar, integer, size_of_axis};

/// The seed attribute: an integer in Dropout, elsewhere a float, taken by its bits.
fn seed(cx: &NodeContext<'_, '_>) -> Option<i64> {
    cx.optional_int("seed").or_else(|| cx.optional_float("seed").map(|seed| seed.to_bits().cast_signed()))
}

/// Uniform numbers in `[0, 1)` of this shape.
fn uniform(cx: &mut NodeContext<'_, '_>, shape: Handle, data_type: DataType) -> Result<Handle, Problem> {
    let distribution = Distribution::Uniform { low: 0.0, high: 1.0 };
    let op = RandomFill { distribution, data_type, seed: seed(cx), stream: cx.builder().next_stream() };
    cx.add(op, &[shape])
}

fn fill(cx: &mut NodeContext<'_, '_>, distribution: Distribution, like: bool) -> Imported {
    let (shape, default) = if like {
        let x = cx.input(0)?;
        (cx.add(Shape::default(), &[x])?, cx.data_type(x)?)
    } else {
        let Some(shape) = cx.ints("shape") else { return Err(cx.problem("attribute shape is needed")) };
        (cx.int_list(&shape), DataType::F32)
    };
    let data_type = cx.data_type_attribute("dtype")?.unwrap_or(default);
    let op = RandomFill { distribution, data_type, seed: seed(cx), stream: cx.builder().next_stream() };
    cx.add_all(op, &[shape])
}

fn uniform_bounds(cx: &NodeContext<'_, '_>) -> Distribution {
    Distribution::Uniform { low: cx.float("low", 0.0), high: cx.float("high", 1.0) }
}

fn normal_moments(cx: &NodeContext<'_, '_>) -> Distribution {
    Distribution::Normal { mean: cx.float("mean", 0.0), scale: cx.float("scale", 1.0) }
}

/// RandomUniform.
pub fn random_uniform(cx: &mut NodeContext<'_, '_>) -> Imported {
    fill(cx, uniform_bounds(cx), false)
}

/// RandomUniformLike: the shape of a tensor.
pub fn random_uniform_like(cx: &mut NodeContext<'_, '_>) -> Imported {
    fill(cx, uniform_bounds(cx), true)
}

/// RandomNormal.
pub fn random_normal(cx: &mut NodeContext<'_, '_>) -> Imported {
    fill(cx, normal_moments(cx), false)
}

/// RandomNormalLike: the shape of a tensor.
pub fn random_normal_like(cx: &mut NodeContext<'_, '_>) -> Imported {
    fill(cx, normal_moments(cx), true)
}

/// The type in which a uniform number is compared: narrower ones would round it up to 1.
fn comparing_type(data_type: DataType) -> DataType {
    if data_type == DataType::F64 { DataType::F64 } else { DataType::F32 }
}

/// Bernoulli: one with the given probability.
pub fn bernoulli(cx: &mut NodeContext<'_, '_>) -> Imported {
    let p = cx.input(0)?;
    let own = cx.data_type(p)?;
    let to = cx.data_type_attribute("dtype")?.unwrap_or(own);
    let shape = cx.add(Shape::default(), &[p])?;
    let u = uniform(cx, shape, comparing_type(own))?;
    Ok(vec![elementwise(cx, [u, p], |[u, p]| u.binary(ScalarOp::Less, &p.cast(u.data_type())).cast(to))?])
}

/// Multinomial: class numbers drawn from unnormalized log-probabilities `[batch, classes]`: the first class at which the
/// running sum of probabilities exceeds a uniform number.
pub fn multinomial(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let to = cx.data_type_attribute("dtype")?.unwrap_or(DataType::I32);
    let samples = cx.int("sample_size", 1);
    let compare = comparing_type(cx.data_type(x)?);
    let x = cx.cast(x, compare)?;
    let probabilities = cx.add(Softmax { axis: -1, log: false }, &[x])?;
    let axis = cx.scalar(DataType::I64, 1.0)?;
    let sums = cx.add(Cumulative::default(), &[probabilities, axis])?;
    let (batch, samples) = (size_of_axis(cx, x, 0)?, cx.int_list(&[samples]));
    let shape = cx.add(Concat { axis: 0 }, &[batch, samples])?;
    let u = uniform(cx, shape, compare)?;
    let (middle, last) = (cx.int_list(&[1]), cx.int_list(&[2]));
    let sums = cx.add(Unsqueeze::default(), &[sums, middle])?;
    let u = cx.add(Unsqueeze::default(), &[u, last])?;
    let passed = elementwise(cx, [sums, u], |[sum, u]| sum.binary(ScalarOp::LessOrEqual, &u).cast(DataType::I64))?;
    let count = cx.add(Reduce::new(ReduceKind::Sum, false), &[passed, last])?;
    let classes = size_of_axis(cx, x, 1)?;
    // Rounding may keep the last sum below 1.
    let class = elementwise(cx, [count, classes], |[count, classes]| {
        count.binary(ScalarOp::Min, &(&classes - &integer(1))).cast(to)
    })?;
    Ok(vec![class])
}

/// Dropout: nothing without training mode, which exists since version 12; in it, elements are zeroed with probability
/// `ratio` and the others multiplied by `1 / (1 - ratio)`. The mask says which elements stay; it is bool since version 10.
pub fn dropout(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let training = if cx.version >= 12 { cx.optional(2) } else { None };
    let fixed = training.and_then(|t| cx.constant_ints(t)).and_then(|values| values.first().copied());
    let (Some(training), None | Some(1..)) = (training, fixed) else {
        let mut results = vec![x];
        if cx.wants_output(1) {
            let shape = cx.add(Shape::default(), &[x])?;
            let to = if cx.version >= 10 { DataType::Bool } else { cx.data_type(x)? };
            let one = cx.constant(Tensor::scalar(to, 1.0));
            results.push(cx.add(Expand::default(), &[one, shape])?);
        }
        return Ok(results);
    };
    let ratio = match cx.optional(1) {
        Some(ratio) => as_scalar(cx, ratio)?,
        None => cx.scalar(DataType::F32, 0.5)?,
    };
    let training = as_scalar(cx, training)?;
    let shape = cx.add(Shape::default(), &[x])?;
    let u = uniform(cx, shape, DataType::F32)?;
    elementwise_all(cx, [x, u, ratio, training], |[x, u, ratio, training]| {
        let ratio = ratio.cast(DataType::F32);
        let no = Expr::constant(DataType::Bool, 0.0);
        let inference = training.binary(ScalarOp::Equal, &no);
        let kept = inference.binary(ScalarOp::Or, &ratio.binary(ScalarOp::LessOrEqual, &u));
        let computing = comparing_type(x.data_type());
        let one = Expr::constant(computing, 1.0);
        let grown = &x.cast(computing) * &(&one / &(&one - &ratio.cast(computing)));
        let scaled = kept.select(&grown.cast(x.data_type()), &x.same(0.0));
        vec![inference.select(&x, &scaled), kept]
    })
}
