//! Normalizations: BatchNormalization-1..15, InstanceNormalization-1..22, LayerNormalization-1..17,
//! GroupNormalization-18..21, RMSNormalization-23, LRN-1..13, LpNormalization-1..22, MeanVarianceNormalization-9..13.
//!
//! Each is the canonical normalization followed by an elementwise scale and bias.

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::movement::{Expand, Reshape};
use sinter_ops::norm::{LocalResponseNormalization, Measure, Normalize};
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;
use crate::ops::sizes::{Entry, shape_of_entries};

/// The attribute `epsilon`, by default the float32 nearest to 1e-5.
pub fn epsilon(cx: &NodeContext<'_, '_>) -> f64 {
    cx.float("epsilon", f64::from(1e-5f32))
}

/// The axes from `first` to the last; counted from the last where the rank is not known.
fn axes_from(cx: &NodeContext<'_, '_>, x: Handle, first: i64) -> Result<Vec<i64>, Problem> {
    // No tensor has more dimensions than this; a larger number is a damaged attribute.
    const MOST: i64 = 64;
    if (-MOST..0).contains(&first) && cx.rank(x).is_err() {
        return Ok((first..0).collect());
    }
    let rank = cx.rank(x)?;
    let position = cx.axis(first, rank)?;
    (position..rank).map(|a| i64::try_from(a).map_err(|e| cx.problem(e.to_string()))).collect()
}

/// Gives a vector of channels the shape [C, 1, ...] that broadcasts against [N, C, spatial...].
///
/// # Errors
/// When the value is no vector.
pub fn per_channel(cx: &mut NodeContext<'_, '_>, vector: Handle, rank: usize) -> Result<Handle, Problem> {
    let mut target = vec![-1];
    target.extend(std::iter::repeat_n(1, rank.saturating_sub(2)));
    let target = cx.int_list(&target);
    cx.add(Reshape::default(), &[vector, target])
}

/// `x * scale + bias`, either of which may be left out, in the type of the scale.
///
/// # Errors
/// When a value is no tensor.
pub fn scale_and_shift(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    scale: Option<Handle>,
    bias: Option<Handle>,
) -> Result<Handle, Problem> {
    match (scale, bias) {
        (None, None) => Ok(x),
        (Some(scale), None) => elementwise(cx, [x, scale], |[x, s]| x.cast(s.data_type()) * s),
        (None, Some(bias)) => elementwise(cx, [x, bias], |[x, b]| x.cast(b.data_type()) + b),
        (Some(scale), Some(bias)) => elementwise(cx, [x, scale, bias], |[x, s, b]| {
            let shift = b.cast(s.data_type());
            x.cast(s.data_type()) * s + shift
        }),
    }
}

/// The type that statistics are computed in: at least float32.
fn wide(data_type: DataType) -> DataType {
    if data_type == DataType::F64 { DataType::F64 } else { DataType::F32 }
}

fn rounded(x: &Expr) -> Expr {
    x.cast(wide(x.data_type()))
}

/// BatchNormalization. Training: `training_mode` since version 14, more than one output before.
pub fn batch_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let mut parameters = [cx.input(1)?, cx.input(2)?, cx.input(3)?, cx.input(4)?];
    let rank = cx.rank(x)?;
    let epsilon = epsilon(cx);
    // Until version 8 statistics could be kept per element; such parameters broadcast as they are.
    let spatial = cx.flag("spatial", true);
    let training = match cx.version {
        14.. => cx.flag("training_mode", false),
        7..14 => cx.wants_output(1),
        _ => !cx.flag("is_test", false) && cx.wants_output(1),
    };
    if training {
        return training_normalization(cx, x, parameters, rank, epsilon, spatial);
    }
    if cx.wants_output(1) {
        return Err(cx.problem("running statistics are only computed in training mode"));
    }
    if spatial {
        for parameter in &mut parameters {
            *parameter = per_channel(cx, *parameter, rank)?;
        }
    }
    let [scale, bias, mean, variance] = parameters;
    // Factor and offset depend on weights alone, so that they are computed once when the plan is written.
    let factor = elementwise(cx, [scale, variance], |[scale, variance]| {
        rounded(&scale) / (rounded(&variance).cast(wide(scale.data_type())) + epsilon).unary(ScalarOp::Sqrt)
    })?;
    let offset = elementwise(cx, [bias, mean, factor], |[bias, mean, factor]| {
        let compute = factor.data_type();
        bias.cast(compute) - mean.cast(compute) * factor
    })?;
    Ok(vec![elementwise(cx, [x, factor, offset], |[x, factor, offset]| {
        let result = x.data_type();
        let compute = factor.data_type();
        (x.cast(compute) * factor + offset).cast(result)
    })?])
}

fn training_normalization(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    [scale, bias, mean, variance]: [Handle; 4],
    rank: usize,
    epsilon: f64,
    spatial: bool,
) -> Imported {
    let momentum = cx.float("momentum", f64::from(0.9f32));
    let mut axes: Vec<i64> = vec![0];
    if spatial {
        let rank = i64::try_from(rank).map_err(|e| cx.problem(e.to_string()))?;
        axes.extend(2..rank);
    }
    let statistics = Some(wide(cx.data_type(x)?));
    let normalized = cx.add_all(Normalize { statistics, ..Normalize::deviation(axes, epsilon) }, &[x])?;
    let &[y, batch_mean, batch_variance] = normalized.as_slice() else {
        return Err(cx.problem("a normalization has three results"));
    };
    let (scale, bias) =
        if spatial { (per_channel(cx, scale, rank)?, per_channel(cx, bias, rank)?) } else { (scale, bias) };
    let x_type = cx.data_type(x)?;
    let scaled = scale_and_shift(cx, y, Some(scale), Some(bias))?;
    let y = cx.cast(scaled, x_type)?;
    let mut results = vec![y];
    let mut batch = Vec::new();
    for (running, current) in [(mean, batch_mean), (variance, batch_variance)] {
        // The statistics come with sizes of 1 on the normalized axes; the parameters have none of those axes.
        let target = if spatial { vec![-1] } else { constant_dims(cx, running)? };
        let target = cx.int_list(&target);
        let current = cx.add(Reshape::default(), &[current, target])?;
        batch.push(current);
        results.push(elementwise(cx, [running, current], |[running, current]| {
            let own = running.data_type();
            let compute = current.data_type();
            (running.cast(compute) * momentum + current * (1.0 - momentum)).cast(own)
        })?);
    }
    // Before version 14 the statistics of the batch were outputs too.
    results.extend(batch);
    Ok(results)
}

fn constant_dims(cx: &NodeContext<'_, '_>, value: Handle) -> Result<Vec<i64>, Problem> {
    let dims: Option<Vec<i64>> = cx.dims(value)?.iter().map(sinter_base::Dim::as_constant).collect();
    dims.ok_or_else(|| cx.problem(format!("fixed sizes are needed, found {}", cx.ty(value))))
}

/// InstanceNormalization: over the spatial axes of each sample and channel.
pub fn instance_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let rank = cx.rank(x)?;
    let axes = (2..i64::try_from(rank).map_err(|e| cx.problem(e.to_string()))?).collect();
    let epsilon = epsilon(cx);
    let normalized = cx.add(Normalize::deviation(axes, epsilon), &[x])?;
    let (scale, bias) = (per_channel(cx, scale, rank)?, per_channel(cx, bias, rank)?);
    Ok(vec![scale_and_shift(cx, normalized, Some(scale), Some(bias))?])
}

/// The attribute `stash_type`: the type of the statistics.
fn stash_type(cx: &NodeContext<'_, '_>) -> Result<DataType, Problem> {
    let found = cx.data_type_attribute("stash_type")?.unwrap_or(DataType::F32);
    if found.is_float() { Ok(found) } else { Err(cx.problem(format!("stash_type {found} is no float type"))) }
}

/// `1 / sqrt(variance + epsilon)`, an output of several normalizations.
fn inverse_deviation(cx: &mut NodeContext<'_, '_>, variance: Handle, epsilon: f64) -> Result<Handle, Problem> {
    elementwise(cx, [variance], |[v]| (v + epsilon).unary(ScalarOp::Sqrt).unary(ScalarOp::Reciprocal))
}

/// Normalizes the axes from `axis` on. Results: the scaled elements, then mean and inverse deviation if the node has
/// these outputs.
///
/// # Errors
/// When the axis does not exist.
pub fn layer_normalization_of(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    scale: Option<Handle>,
    bias: Option<Handle>,
    axis: i64,
    epsilon: f64,
) -> Imported {
    let has_statistics = cx.output_count() > 1;
    let statistics = if has_statistics { Some(stash_type(cx)?) } else { None };
    let axes = axes_from(cx, x, axis)?;
    let results = cx.add_all(Normalize { statistics, ..Normalize::deviation(axes, epsilon) }, &[x])?;
    match *results.as_slice() {
        [y] => Ok(vec![scale_and_shift(cx, y, scale, bias)?]),
        [y, mean, variance] => {
            let y = scale_and_shift(cx, y, scale, bias)?;
            Ok(vec![y, mean, inverse_deviation(cx, variance, epsilon)?])
        }
        _ => Err(cx.problem("a normalization has one or three results")),
    }
}

/// Divides the axes from `axis` on by their root mean square. Results: the scaled elements, then the inverse root mean
/// square if the node has a second output.
///
/// # Errors
/// When the axis does not exist.
pub fn rms_normalization_of(
    cx: &mut NodeContext<'_, '_>,
    x: Handle,
    scale: Option<Handle>,
    bias: Option<Handle>,
    axis: i64,
    epsilon: f64,
) -> Imported {
    let has_statistics = cx.output_count() > 1;
    let statistics = if has_statistics { Some(stash_type(cx)?) } else { None };
    let op = Normalize {
        measure: Measure::RootMeanSquare,
        axes: axes_from(cx, x, axis)?,
        groups: None,
        epsilon,
        statistics,
    };
    let results = cx.add_all(op, &[x])?;
    match *results.as_slice() {
        [y] => Ok(vec![scale_and_shift(cx, y, scale, bias)?]),
        [y, mean_square] => {
            let y = scale_and_shift(cx, y, scale, bias)?;
            Ok(vec![y, inverse_deviation(cx, mean_square, epsilon)?])
        }
        _ => Err(cx.problem("a normalization has one or two results")),
    }
}

/// LayerNormalization: optional bias; outputs mean and inverse deviation.
pub fn layer_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    stash_type(cx)?;
    let (axis, epsilon) = (cx.int("axis", -1), epsilon(cx));
    layer_normalization_of(cx, x, Some(scale), bias, axis, epsilon)
}

/// RMSNormalization.
pub fn rms_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    stash_type(cx)?;
    let (axis, epsilon) = (cx.int("axis", -1), epsilon(cx));
    rms_normalization_of(cx, x, Some(scale), None, axis, epsilon)
}

/// GroupNormalization: scale and bias per channel since version 21, per group before.
pub fn group_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (x, mut scale, mut bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    stash_type(cx)?;
    let rank = cx.rank(x)?;
    let Some(count) = cx.optional_int("num_groups").and_then(|g| usize::try_from(g).ok()).filter(|&g| g > 0) else {
        return Err(cx.problem("attribute num_groups must be given and positive"));
    };
    let axes = (2..i64::try_from(rank).map_err(|e| cx.problem(e.to_string()))?).collect();
    let epsilon = epsilon(cx);
    let op = Normalize { groups: Some(count), ..Normalize::deviation(axes, epsilon) };
    let normalized = cx.add(op, &[x])?;
    if cx.version < 21 {
        // [G] to [G, 1] to [G, C / G] to [C].
        let groups = i64::try_from(count).map_err(|e| cx.problem(e.to_string()))?;
        let entries = [Entry::Constant(groups), Entry::Axis { axis: 1, times: 1, over: groups }];
        let repeated = shape_of_entries(cx, x, &entries)?;
        for parameter in [&mut scale, &mut bias] {
            let (column, flat) = (cx.int_list(&[-1, 1]), cx.int_list(&[-1]));
            let column = cx.add(Reshape::default(), &[*parameter, column])?;
            let matrix = cx.add(Expand::default(), &[column, repeated])?;
            *parameter = cx.add(Reshape::default(), &[matrix, flat])?;
        }
    }
    let (scale, bias) = (per_channel(cx, scale, rank)?, per_channel(cx, bias, rank)?);
    Ok(vec![scale_and_shift(cx, normalized, Some(scale), Some(bias))?])
}

/// LRN.
pub fn local_response_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let Some(size) = cx.optional_int("size").and_then(|s| usize::try_from(s).ok()) else {
        return Err(cx.problem("attribute size must be given and positive"));
    };
    let op = LocalResponseNormalization {
        size,
        alpha: cx.float("alpha", f64::from(0.0001f32)),
        beta: cx.float("beta", 0.75),
        bias: cx.float("bias", 1.0),
    };
    cx.add_all(op, &[x])
}

/// LpNormalization: of order 1 or 2.
pub fn lp_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let order = match cx.int("p", 2) {
        1 => 1.0,
        2 => 2.0,
        other => return Err(cx.problem(format!("p is {other}; only 1 and 2 exist"))),
    };
    let axes = vec![cx.int("axis", -1)];
    let measure = Measure::Norm { order };
    cx.add_all(Normalize { measure, ..Normalize::deviation(axes, 0.0) }, &[x])
}

/// MeanVarianceNormalization: the deviation itself, not the variance, is kept away from zero.
pub fn mean_variance_normalization(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let axes = cx.ints("axes").unwrap_or_else(|| vec![0, 2, 3]);
    let statistics = Some(wide(cx.data_type(x)?));
    let results = cx.add_all(Normalize { statistics, ..Normalize::deviation(axes, 0.0) }, &[x])?;
    let &[_, mean, variance] = results.as_slice() else {
        return Err(cx.problem("a normalization has three results"));
    };
    Ok(vec![elementwise(cx, [x, mean, variance], |[x, mean, variance]| {
        let result = x.data_type();
        let centred = x.cast(mean.data_type()) - mean;
        (centred / (variance.unary(ScalarOp::Sqrt) + 1e-9)).cast(result)
    })?])
}
