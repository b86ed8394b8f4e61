//! ai.onnx.ml: LabelEncoder-1..4, Binarizer-1, Scaler-1, LinearRegressor-1.

use sinter_base::{DataType, Tensor, TensorError};
use sinter_ir::Handle;
use sinter_ops::host::LabelEncoder;
use sinter_ops::matmul::MatMul;
use sinter_ops::pointwise::ScalarOp;

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

fn made(cx: &NodeContext<'_, '_>, tensor: Result<Tensor, TensorError>) -> Result<Tensor, Problem> {
    tensor.map_err(|e| cx.problem(e.to_string()))
}

fn of_texts(cx: &NodeContext<'_, '_>, texts: Vec<String>) -> Result<Tensor, Problem> {
    made(cx, Tensor::from_strings(&[texts.len()], texts))
}

fn of_floats(cx: &NodeContext<'_, '_>, values: &[f64]) -> Result<Tensor, Problem> {
    made(cx, Tensor::from_floats(DataType::F32, &[values.len()], values))
}

/// One of the lists `{side}_tensor`, `{side}_strings`, `{side}_int64s`, `{side}_floats`.
fn list(cx: &mut NodeContext<'_, '_>, side: &str) -> Result<Tensor, Problem> {
    if let Some(tensor) = cx.tensor(&format!("{side}_tensor"))? {
        let count = tensor.count();
        return made(cx, tensor.reshaped(&[count]));
    }
    if let Some(texts) = cx.texts(&format!("{side}_strings")) {
        return of_texts(cx, texts);
    }
    if let Some(values) = cx.ints(&format!("{side}_int64s")) {
        return Ok(Tensor::of_i64(&values));
    }
    match cx.floats(&format!("{side}_floats")) {
        Some(values) => of_floats(cx, &values),
        None => Err(cx.problem(format!("no list of {side} is given"))),
    }
}

/// The default for unknown keys, of the type of the values.
fn default_label(cx: &mut NodeContext<'_, '_>, data_type: DataType) -> Result<Tensor, Problem> {
    if let Some(tensor) = cx.tensor("default_tensor")? {
        return Ok(tensor);
    }
    match data_type {
        DataType::String => of_texts(cx, vec![cx.text("default_string", "_Unused")]),
        t if t.is_float() => made(cx, Tensor::from_floats(t, &[1], &[cx.float("default_float", -0.0)])),
        t => made(cx, Tensor::from_ints(t, &[1], &[i128::from(cx.int("default_int64", -1))])),
    }
}

/// LabelEncoder: keys, values and default become weights of the network. Version 1 has one list of texts, whose
/// positions are the other side.
pub fn label_encoder(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let (keys, values) = if cx.version < 2 {
        let Some(texts) = cx.texts("classes_strings") else {
            return Err(cx.problem("attribute classes_strings is missing"));
        };
        let count = i64::try_from(texts.len()).unwrap_or(i64::MAX);
        let (texts, positions) = (of_texts(cx, texts)?, Tensor::of_i64(&(0..count).collect::<Vec<_>>()));
        if cx.data_type(x)? == DataType::String { (texts, positions) } else { (positions, texts) }
    } else {
        (list(cx, "keys")?, list(cx, "values")?)
    };
    let default = default_label(cx, values.data_type())?;
    let inputs = [x, cx.constant(keys), cx.constant(values), cx.constant(default)];
    cx.add_all(LabelEncoder {}, &inputs)
}

/// Binarizer: 1 above the threshold, else 0.
pub fn binarizer(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let (data_type, threshold) = (cx.data_type(x)?, cx.float("threshold", 0.0));
    let y = cx.pointwise(&[x], |operands| match operands {
        [x, ..] if data_type.is_float() => x.same(threshold).binary(ScalarOp::Less, x).cast(data_type),
        // An integer is above the threshold when it is above the integer part below it.
        [x, ..] => x.same(threshold.floor()).binary(ScalarOp::Less, x).cast(data_type),
        [] => sinter_ops::pointwise::Expr::constant(data_type, 0.0),
    })?;
    Ok(vec![y])
}

/// A float list as a constant that broadcasts over rows.
fn row(cx: &mut NodeContext<'_, '_>, name: &str) -> Result<Option<Handle>, Problem> {
    let Some(values) = cx.floats(name).filter(|v| !v.is_empty()) else { return Ok(None) };
    let tensor = of_floats(cx, &values)?;
    Ok(Some(cx.constant(tensor)))
}

/// Scaler: (x - offset) * scale, in f32.
pub fn scaler(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let mut y = cx.cast(x, DataType::F32)?;
    for (name, op) in [("offset", ScalarOp::Sub), ("scale", ScalarOp::Mul)] {
        if let Some(values) = row(cx, name)? {
            y = cx.pointwise(&[y, values], |operands| match operands {
                [a, b, ..] => a.binary(op, b),
                _ => sinter_ops::pointwise::Expr::constant(DataType::F32, 0.0),
            })?;
        }
    }
    Ok(vec![y])
}

/// LinearRegressor: x c^T + intercepts, in f32.
pub fn linear_regressor(cx: &mut NodeContext<'_, '_>) -> Imported {
    let transform = cx.text("post_transform", "NONE");
    if transform != "NONE" {
        return Err(cx.problem(format!("post_transform '{transform}' is not supported; only NONE is")));
    }
    let targets = usize::try_from(cx.int("targets", 1)).ok().filter(|t| *t > 0);
    let Some(targets) = targets else { return Err(cx.problem(format!("targets is {}", cx.int("targets", 1)))) };
    let coefficients = cx.floats("coefficients").unwrap_or_default();
    let features = coefficients.len() / targets;
    let matrix = made(cx, Tensor::from_floats(DataType::F32, &[targets, features], &coefficients))?;
    let x = cx.input(0)?;
    let (x, matrix) = (cx.cast(x, DataType::F32)?, cx.constant(matrix));
    let y = cx.add(MatMul { transpose_b: true, ..MatMul::default() }, &[x, matrix])?;
    let Some(intercepts) = row(cx, "intercepts")? else { return Ok(vec![y]) };
    let sum = cx.pointwise(&[y, intercepts], |operands| match operands {
        [a, b, ..] => a + b,
        _ => sinter_ops::pointwise::Expr::constant(DataType::F32, 0.0),
    })?;
    Ok(vec![sum])
}
