//! ai.onnx.ml: LinearClassifier-1, TreeEnsembleClassifier-1..3, Normalizer-1.

use sinter_base::{DataType, Tensor};
use sinter_ir::Handle;
use sinter_ops::classical::{Aggregate, ScoreTransform, TreeEnsemble};
use sinter_ops::index::Gather;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Concat;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::reduce::{ArgReduce, Reduce, ReduceKind, Softmax};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::elementwise;
use crate::ops::trees::{numbered_nodes, score_transform};

/// The names of the classes, as integers or texts under these attributes.
fn labels(cx: &NodeContext<'_, '_>, integers: &str, texts: &str) -> Result<Tensor, Problem> {
    let tensor = match (cx.ints(integers).filter(|v| !v.is_empty()), cx.texts(texts).filter(|v| !v.is_empty())) {
        (Some(values), None) => Tensor::of_i64(&values),
        (None, Some(values)) => Tensor::from_strings(&[values.len()], values).map_err(|e| cx.problem(e.to_string()))?,
        _ => return Err(cx.problem(format!("one of {integers} and {texts} must be given"))),
    };
    match tensor.count() {
        1 => Err(cx.problem("a classifier of a single class is not supported")),
        _ => Ok(tensor),
    }
}

/// Scores after their transformation by operators of their own.
fn transformed(cx: &mut NodeContext<'_, '_>, scores: Handle, how: ScoreTransform) -> Result<Handle, Problem> {
    match how {
        ScoreTransform::Keep => Ok(scores),
        ScoreTransform::Logistic => elementwise(cx, [scores], |[s]| s.unary(ScalarOp::Sigmoid)),
        ScoreTransform::Softmax => cx.add(Softmax { axis: -1, log: false }, &[scores]),
        ScoreTransform::SoftmaxNonZero | ScoreTransform::Probit => {
            Err(cx.problem(format!("post_transform {} is not supported here", cx.text("post_transform", ""))))
        }
    }
}

/// The label of the largest score of each row, and the scores.
fn chosen(cx: &mut NodeContext<'_, '_>, scores: Handle, labels: Tensor) -> Imported {
    let largest = ArgReduce { largest: true, axis: -1, keep_dims: false, select_last: false };
    let (best, labels) = (cx.add(largest, &[scores])?, cx.constant(labels));
    Ok(vec![cx.add(Gather { axis: 0 }, &[labels, best])?, scores])
}

/// LinearClassifier: scores x c^T + intercepts; with one row of coefficients for two classes, the first class has the
/// score negated.
pub fn linear_classifier(cx: &mut NodeContext<'_, '_>) -> Imported {
    let labels = labels(cx, "classlabels_ints", "classlabels_strings")?;
    let how = score_transform(cx)?;
    let x = cx.input(0)?;
    let data_type = if cx.data_type(x)? == DataType::F64 { DataType::F64 } else { DataType::F32 };
    let x = cx.cast(x, data_type)?;
    let coefficients = cx.floats("coefficients").unwrap_or_default();
    let intercepts = cx.floats("intercepts").unwrap_or_default();
    let features = cx.dims(x)?.last().and_then(|d| d.as_constant()).and_then(|d| usize::try_from(d).ok());
    let Some(features) = features.filter(|f| *f > 0 && coefficients.len().is_multiple_of(*f)) else {
        let count = coefficients.len();
        return Err(cx.problem(format!("{count} coefficients do not fit an input of type {}", cx.ty(x))));
    };
    let rows = coefficients.len() / features;
    let matrix = Tensor::from_floats(data_type, &[rows, features], &coefficients);
    let matrix = matrix.map_err(|e| cx.problem(e.to_string()))?;
    let matrix = cx.constant(matrix);
    let mut scores = cx.add(MatMul { transpose_b: true, ..MatMul::default() }, &[x, matrix])?;
    if !intercepts.is_empty() {
        let row = Tensor::from_floats(data_type, &[intercepts.len()], &intercepts);
        let row = row.map_err(|e| cx.problem(e.to_string()))?;
        let row = cx.constant(row);
        scores = elementwise(cx, [scores, row], |[s, b]| &s + &b)?;
    }
    if rows == 1 && labels.count() == 2 {
        let negated = elementwise(cx, [scores], |[s]| -&s)?;
        scores = cx.add(Concat { axis: -1 }, &[negated, scores])?;
    } else if rows != labels.count() {
        return Err(cx.problem(format!("{rows} rows of coefficients for {} classes", labels.count())));
    }
    let scores = transformed(cx, scores, how)?;
    let scores = cx.cast(scores, DataType::F32)?;
    chosen(cx, scores, labels)
}

/// TreeEnsembleClassifier: a score per class. When all weights belong to one of two classes, the other class has one
/// minus that score if no weight is negative and nothing is transformed, else the score negated.
pub fn tree_ensemble_classifier(cx: &mut NodeContext<'_, '_>) -> Imported {
    let labels = labels(cx, "classlabels_int64s", "classlabels_strings")?;
    let how = score_transform(cx)?;
    let mut tables = numbered_nodes(cx, "class")?;
    let x = cx.input(0)?;
    let x = if cx.data_type(x)?.is_float() { x } else { cx.cast(x, DataType::F32)? };
    let one_class = tables.targets.iter().all(|t| tables.targets.first() == Some(t));
    let op = |targets, transform| TreeEnsemble { targets, aggregate: Aggregate::Sum, transform };
    if labels.count() != 2 || !one_class {
        let results = tables.add(cx, x, op(labels.count(), how))?;
        let scores = results.first().copied().ok_or_else(|| cx.problem("trees without scores"))?;
        let scores = cx.cast(scores, DataType::F32)?;
        return chosen(cx, scores, labels);
    }
    tables.targets.iter_mut().for_each(|target| *target = 0);
    tables.base = tables.base.last().copied().into_iter().collect();
    let complement = how == ScoreTransform::Keep && tables.weights.iter().all(|w| *w >= 0.0);
    let results = tables.add(cx, x, op(1, ScoreTransform::Keep))?;
    let score = results.first().copied().ok_or_else(|| cx.problem("trees without scores"))?;
    let score = cx.cast(score, DataType::F32)?;
    let other = elementwise(cx, [score], |[s]| if complement { &s.same(1.0) - &s } else { -&s })?;
    let scores = cx.add(Concat { axis: -1 }, &[other, score])?;
    let scores = transformed(cx, scores, how)?;
    chosen(cx, scores, labels)
}

/// Normalizer: each row divided by its largest magnitude, sum of magnitudes or length, in f32. The words of ONNX divide by
/// the largest element instead of the largest magnitude; its reference implementation and scikit-learn do this.
pub fn normalizer(cx: &mut NodeContext<'_, '_>) -> Imported {
    let kind = match cx.text("norm", "MAX").as_str() {
        "MAX" => ReduceKind::Max,
        "L1" => ReduceKind::Sum,
        "L2" => ReduceKind::L2,
        other => return Err(cx.problem(format!("norm '{other}' is unknown"))),
    };
    let x = cx.input(0)?;
    let x = cx.cast(x, DataType::F32)?;
    let magnitudes = elementwise(cx, [x], |[x]| x.unary(ScalarOp::Abs))?;
    let axes = cx.int_list(&[-1]);
    let size = cx.add(Reduce::new(kind, true), &[magnitudes, axes])?;
    // A row of zeros stays as it is.
    let y = elementwise(cx, [x, size], |[x, size]| &x / &size.binary(ScalarOp::Max, &size.same(1e-30)))?;
    Ok(vec![y])
}
