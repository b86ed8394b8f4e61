//! RNN-7..22, GRU-7..22, LSTM-7..22, DynamicQuantizeLSTM of ONNX Runtime.

use sinter_base::Dim;
use sinter_base::quantization::Granularity;
use sinter_ir::Handle;
use sinter_ops::movement::{Transpose, Unsqueeze};
use sinter_ops::quantize::Dequantize;
use sinter_ops::recurrent::{Activation, Direction, Gru, Lstm, Recurrence, Rnn};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::quantize::dequantized;

/// Does the function take an alpha, and a beta, and what are they when not given?
fn defaults(name: &str) -> (Option<f64>, Option<f64>) {
    match name {
        "affine" => (Some(1.0), Some(0.0)),
        "leakyrelu" => (Some(0.01), None),
        "thresholdedrelu" | "elu" => (Some(1.0), None),
        "scaledtanh" => (Some(1.0), Some(1.0)),
        "hardsigmoid" => (Some(0.2), Some(0.5)),
        _ => (None, None),
    }
}

fn activation(name: &str, alpha: f64, beta: f64) -> Option<Activation> {
    Some(match name {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "affine" => Activation::Affine { alpha, beta },
        "leakyrelu" => Activation::LeakyRelu { alpha },
        "thresholdedrelu" => Activation::ThresholdedRelu { alpha },
        "scaledtanh" => Activation::ScaledTanh { alpha, beta },
        "hardsigmoid" => Activation::HardSigmoid { alpha, beta },
        "elu" => Activation::Elu { alpha },
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        _ => return None,
    })
}

/// The values of `activation_alpha` or `activation_beta` for each function. A list as long as that of the functions is
/// read by position; a shorter one holds values only for the functions that take one.
fn parameters(given: &[f64], defaults: &[Option<f64>]) -> Option<Vec<f64>> {
    if given.len() == defaults.len() {
        return Some(given.to_vec());
    }
    let mut rest = given.iter();
    let values = defaults.iter().map(|d| d.map_or(0.0, |d| rest.next().copied().unwrap_or(d))).collect();
    rest.next().is_none().then_some(values)
}

/// The attributes that all three operators share; `usual` are the activations of one direction when none are given.
fn recurrence(cx: &NodeContext<'_, '_>, usual: &[&str]) -> Result<Recurrence, Problem> {
    let direction = match cx.text("direction", "forward").as_str() {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Both,
        other => return Err(cx.problem(format!("direction '{other}' is unknown"))),
    };
    let names: Vec<String> = match cx.texts("activations").filter(|names| !names.is_empty()) {
        Some(names) => names.iter().map(|n| n.to_lowercase()).collect(),
        None => (0..direction.count()).flat_map(|_| usual.iter().map(|n| (*n).to_owned())).collect(),
    };
    if names.len() != usual.len() * direction.count() {
        let needed = usual.len() * direction.count();
        return Err(cx.problem(format!("{} activations are given, {needed} are needed", names.len())));
    }
    let (alphas, betas): (Vec<_>, Vec<_>) = names.iter().map(|n| defaults(n)).unzip();
    let list = |attribute: &str, defaults: &[Option<f64>]| {
        let given = cx.floats(attribute).unwrap_or_default();
        let count = given.len();
        let wrong =
            || cx.problem(format!("attribute {attribute} has {count} entries, which the activations do not take"));
        parameters(&given, defaults).ok_or_else(wrong)
    };
    let (alphas, betas) = (list("activation_alpha", &alphas)?, list("activation_beta", &betas)?);
    let mut activations = Vec::with_capacity(names.len());
    for (name, (alpha, beta)) in names.iter().zip(alphas.into_iter().zip(betas)) {
        let known = activation(name, alpha, beta);
        activations.push(known.ok_or_else(|| cx.problem(format!("activation '{name}' is unknown")))?);
    }
    let batch_first = match cx.int("layout", 0) {
        0 => false,
        1 => true,
        other => return Err(cx.problem(format!("layout {other} is neither 0 nor 1"))),
    };
    // A threshold of 0 is how old exporters write "none".
    let clip = cx.optional_float("clip").filter(|clip| *clip > 0.0);
    Ok(Recurrence { direction, batch_first, clip, activations })
}

/// The inputs, `hidden_size` checked against the recurrence matrix.
fn inputs(cx: &NodeContext<'_, '_>, most: usize) -> Result<Vec<Option<Handle>>, Problem> {
    if let Some(hidden) = cx.optional_int("hidden_size")
        && let Ok(dims) = cx.dims(cx.input(2)?)
        && let Some(found) = dims.last().and_then(|d| d.as_constant())
        && found != hidden
    {
        return Err(cx.problem(format!("hidden_size is {hidden}, the recurrence matrix has {found} columns")));
    }
    for index in 0..3 {
        cx.input(index)?;
    }
    if cx.input_count() > most {
        return Err(cx.problem(format!("{} inputs are given, at most {most} are known", cx.input_count())));
    }
    Ok((0..cx.input_count()).map(|index| cx.optional(index)).collect())
}

/// RNN.
pub fn rnn(cx: &mut NodeContext<'_, '_>) -> Imported {
    let op = Rnn { recurrence: recurrence(cx, &["tanh"])? };
    let inputs = inputs(cx, 6)?;
    cx.add_optional(op, &inputs)
}

/// GRU.
pub fn gru(cx: &mut NodeContext<'_, '_>) -> Imported {
    let linear_before_reset = cx.flag("linear_before_reset", false);
    let op = Gru { recurrence: recurrence(cx, &["sigmoid", "tanh"])?, linear_before_reset };
    let inputs = inputs(cx, 6)?;
    cx.add_optional(op, &inputs)
}

/// LSTM.
pub fn lstm(cx: &mut NodeContext<'_, '_>) -> Imported {
    let input_forget = cx.flag("input_forget", false);
    let op = Lstm { recurrence: recurrence(cx, &["sigmoid", "tanh", "tanh"])?, input_forget };
    let inputs = inputs(cx, 8)?;
    cx.add_optional(op, &inputs)
}

/// Stored weights [directions, columns, rows] as real ones [directions, rows, columns], with one scale per direction or
/// one per row of each; their scale and zero point stand at `scale` and behind it.
fn real_weights(cx: &mut NodeContext<'_, '_>, weights: usize, scale: usize) -> Result<Handle, Problem> {
    let (scale, zero) = (cx.input(scale)?, cx.input(scale + 1)?);
    let stored = cx.add(Transpose { permutation: Some(vec![0, 2, 1]) }, &[cx.input(weights)?])?;
    if cx.rank(scale)? == 1 {
        return dequantized(cx, stored, scale, Some(zero), 0);
    }
    let columns = cx.dims(stored)?.last().and_then(Dim::as_constant).and_then(|size| usize::try_from(size).ok());
    let Some(size) = columns.filter(|size| *size > 0) else {
        return Err(cx.problem(format!("the sizes of weights {} must be known", cx.ty(stored))));
    };
    // The columns of a row are one block.
    let axis = cx.int_list(&[2]);
    let (scale, zero) = (cx.add(Unsqueeze {}, &[scale, axis])?, cx.add(Unsqueeze {}, &[zero, axis])?);
    let op = Dequantize { data_type: cx.data_type(scale)?, granularity: Granularity::Block { axis: 2, size } };
    cx.add(op, &[stored, scale, zero])
}

/// DynamicQuantizeLSTM: an LSTM whose weights are stored as 8-bit integers. ONNX Runtime rounds x and the state to eight
/// bits in every step, to multiply integers; here both stay as they are, so that results are nearer to the exact ones.
pub fn dynamic_quantize_lstm(cx: &mut NodeContext<'_, '_>) -> Imported {
    let input_forget = cx.flag("input_forget", false);
    let op = Lstm { recurrence: recurrence(cx, &["sigmoid", "tanh", "tanh"])?, input_forget };
    let (w, r) = (real_weights(cx, 1, 8)?, real_weights(cx, 2, 10)?);
    let rest = (3..8).map(|index| cx.optional(index));
    let inputs: Vec<Option<Handle>> = [cx.input(0)?, w, r].map(Some).into_iter().chain(rest).collect();
    cx.add_optional(op, &inputs)
}
