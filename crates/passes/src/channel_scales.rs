//! Folds factors and offsets per channel into the weights of the preceding product.
//!
//! `conv(x, w, b) * s = conv(x, w s, b s)`, `conv(x, w, b) + c = conv(x, w, b + c)` with s and c per output channel,
//! and `(x W) s = x (W s)` with s per column. This is how batch normalization disappears (Jacob et al. 2018, section
//! 3.2). Weights become expressions of the old ones. A bias on a matrix product stays, because the operator has no
//! bias.

use sinter_base::{DataType, Dim, Tensor};
use sinter_ir::pattern::{Application, Term, application};
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::{Expand, Reshape};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{InferError, Node, Op, ValueId};

use crate::pass::{Miss, miss};

/// Moves one factor or offset.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let [result] = node.outputs[..] else { return Ok(false) };
    let Some(term) = application(graph, result) else { return Ok(false) };
    let Some((product, op, operand)) = split(graph, &term) else { return Ok(false) };
    let Some((producer, _)) = graph.producer(product) else { return Ok(false) };
    let channel_axis = match &producer.op {
        Op::Convolution(_) => 1,
        Op::MatMul(_) if matches!(op, ScalarOp::Mul | ScalarOp::Div) => {
            graph.tensor(product).and_then(|ty| ty.shape.rank()).unwrap_or(0).saturating_sub(1)
        }
        _ => return Ok(false),
    };
    let Some(ty) = graph.tensor(product).filter(|ty| ty.data_type.is_float() && ty.data_type == term.compute) else {
        return Ok(false);
    };
    if ty.data_type == DataType::F16 && matches!(op, ScalarOp::Mul | ScalarOp::Div) {
        // Small factors are common, and below 6e-5 a number of f16 has fewer digits.
        miss!("a weight of f16 may become too small for its digits");
    }
    if !graph.has_one_use(product) {
        miss!("the product is read elsewhere too");
    }
    let Some(&Some(weight)) = producer.inputs.get(1).filter(|w| w.is_some_and(|w| graph.weight(w).is_some())) else {
        miss!("the weight of the {} is not constant", producer.op.name());
    };
    let operand = match operand {
        Term::Number(value) => patch.constant(scalar(ty.data_type, value)),
        Term::Value(id) => id,
    };
    let dims = ty.dims().map_err(|e| Miss(e.to_string()))?;
    let channels = per_channel(patch, operand, dims, channel_axis)?;
    let origins = graph.producer_position(product).into_iter().chain([position]);
    patch.set_origins(origins);
    let replacement = match &producer.op {
        Op::Convolution(_) => into_convolution(graph, producer, weight, op, channels, patch)?,
        _ => into_matmul(graph, producer, weight, op, channels, patch)?,
    };
    patch.replace(result, replacement);
    Ok(true)
}

/// The product, the operation and the constant operand: `product op operand`.
fn split(graph: &Graph<'_>, term: &Application) -> Option<(ValueId, ScalarOp, Term)> {
    let [left, right] = term.args[..] else { return None };
    let constant = |t: Term| match t {
        Term::Number(_) => true,
        Term::Value(id) => graph.weight(id).is_some(),
    };
    match (term.op, left, right) {
        (ScalarOp::Mul | ScalarOp::Add | ScalarOp::Sub | ScalarOp::Div, Term::Value(x), c) if constant(c) => {
            Some((x, term.op, c))
        }
        (ScalarOp::Mul | ScalarOp::Add, c, Term::Value(x)) if constant(c) => Some((x, term.op, c)),
        _ => None,
    }
}

fn scalar(data_type: DataType, value: f64) -> Tensor {
    Tensor::scalar(data_type, value)
}

/// A constant that the channels share or have one each of.
struct Channels {
    value: ValueId,
    /// Number of channels, or 1.
    count: i64,
}

fn per_channel(patch: &Patch<'_>, value: ValueId, product: &[Dim], axis: usize) -> Result<Channels, Miss> {
    let Some(dims) = patch.ty(value).as_tensor().and_then(|ty| ty.dims().ok()) else { miss!("a shape is not known") };
    let offset = match product.len().checked_sub(dims.len()) {
        Some(offset) => offset,
        None => miss!("the constant has more dimensions than the product"),
    };
    let mut count = 1;
    for (own, dim) in dims.iter().enumerate() {
        match dim.as_constant() {
            Some(1) => {}
            Some(size) if own + offset == axis && product[axis].as_constant() == Some(size) => count = size,
            _ => miss!("the constant of shape {} is not one value per channel", patch.ty(value)),
        }
    }
    Ok(Channels { value, count })
}

fn binary(op: ScalarOp, data_type: DataType) -> Result<Op, InferError> {
    let (a, b) = (Expr::input(0, data_type), Expr::input(1, data_type));
    let op = Expr::into_pointwise(&[a.binary(op, &b)]).map_err(|e| InferError::Invalid(e.to_string()))?;
    Ok(op.into())
}

fn reshaped(patch: &mut Patch<'_>, value: ValueId, dims: &[i64]) -> Result<ValueId, InferError> {
    let shape = patch.int_list(dims);
    patch.folded(Reshape::default(), &[Some(value), Some(shape)])
}

fn combined(patch: &mut Patch<'_>, a: ValueId, op: ScalarOp, b: ValueId) -> Result<ValueId, InferError> {
    let data_type = patch.ty(a).data_type();
    patch.folded(binary(op, data_type)?, &[Some(a), Some(b)])
}

fn into_convolution(
    graph: &Graph<'_>,
    conv: &Node,
    weight: ValueId,
    op: ScalarOp,
    channels: Channels,
    patch: &mut Patch<'_>,
) -> Result<ValueId, Miss> {
    let bias = conv.inputs.get(2).copied().flatten();
    if bias.is_some_and(|bias| graph.weight(bias).is_none()) {
        miss!("the bias of the convolution is not constant");
    }
    let Some(weight_dims) = graph.tensor(weight).and_then(|ty| ty.dims().ok()) else { miss!("a shape is not known") };
    let Some(outputs) = weight_dims.first().and_then(Dim::as_constant) else { miss!("a shape is not known") };
    let row = reshaped(patch, channels.value, &[channels.count])?;
    let (weight, bias) = match op {
        ScalarOp::Mul | ScalarOp::Div => {
            let mut dims = vec![1; weight_dims.len()];
            dims[0] = channels.count;
            let column = reshaped(patch, channels.value, &dims)?;
            let bias = bias.map(|bias| combined(patch, bias, op, row)).transpose()?;
            (combined(patch, weight, op, column)?, bias)
        }
        _ => {
            let bias = match bias {
                Some(bias) => bias,
                None => {
                    let zero = patch.constant(scalar(patch.ty(weight).data_type(), 0.0));
                    let count = patch.int_list(&[outputs]);
                    patch.folded(Expand::default(), &[Some(zero), Some(count)])?
                }
            };
            (weight, Some(combined(patch, bias, op, row)?))
        }
    };
    let results = patch.add(conv.op.clone(), &[conv.inputs[0], Some(weight), bias])?;
    Ok(results[0])
}

fn into_matmul(
    graph: &Graph<'_>,
    matmul: &Node,
    weight: ValueId,
    op: ScalarOp,
    channels: Channels,
    patch: &mut Patch<'_>,
) -> Result<ValueId, Miss> {
    let Op::MatMul(product) = &matmul.op else { miss!("no matrix product") };
    if graph.tensor(weight).and_then(|ty| ty.shape.rank()) != Some(2) {
        miss!("the second operand is no matrix");
    }
    let dims = if product.transpose_b { [channels.count, 1] } else { [1, channels.count] };
    let columns = reshaped(patch, channels.value, &dims)?;
    let weight = combined(patch, weight, op, columns)?;
    let results = patch.add(product.clone(), &[matmul.inputs[0], Some(weight)])?;
    Ok(results[0])
}
