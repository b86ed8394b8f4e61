//! Layer and RMS normalization from their formulas, in any exporter's spelling.
//!
//! `d / sqrt(mean(d^2) + epsilon)` with `d = x - mean(x)`, and `x / sqrt(mean(x^2) + epsilon)`, over constant axes that
//! stay with size 1. Sources: Ba et al. 2016, Zhang and Sennrich 2019. A scale and a bias that follow stay elementwise
//! work. Does not fire when the means run over different axes, or drop them.

use std::sync::LazyLock;

use sinter_ir::pattern::Pattern;
use sinter_ir::{Graph, Patch};
use sinter_ops::norm::{Measure, Normalize};
use sinter_ops::pointwise::{CastMode, Expr, ScalarOp};
use sinter_ops::reduce::ReduceKind;
use sinter_ops::{Op, ValueId};

use crate::pass::{Miss, miss};

struct Spelling {
    measure: Measure,
    x: Pattern,
    epsilon: Pattern,
    /// The means, all over the same axes.
    means: Vec<Pattern>,
    formula: Pattern,
}

fn is_mean(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Mean && reduce.keep_dims)
}

fn is_any_mean(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Mean)
}

/// `x / sqrt(v)` in all its forms.
fn over_root(x: &Pattern, v: &Pattern) -> Pattern {
    let root = Pattern::either(&[&v.unary(ScalarOp::Sqrt), &v.binary(ScalarOp::Pow, &Pattern::number(0.5))]);
    let inverse = Pattern::either(&[
        &root.unary(ScalarOp::Reciprocal),
        &(&Pattern::number(1.0) / &root),
        &v.binary(ScalarOp::Pow, &Pattern::number(-0.5)),
    ]);
    Pattern::either(&[&(x / &root), &(x * &inverse)])
}

fn spellings(mean: fn(&Op) -> bool) -> Vec<Spelling> {
    let layer = {
        let (x, epsilon) = (Pattern::any(), Pattern::any_number());
        let first = Pattern::node(mean, &[&x]);
        let deviation = &x - &first;
        let second = Pattern::node(mean, &[&deviation.maybe_cast().square()]);
        let formula = over_root(&deviation.maybe_cast(), &(&second + &epsilon));
        Spelling { measure: Measure::Deviation, x, epsilon, means: vec![first, second], formula }
    };
    let root_mean_square = {
        let (x, epsilon) = (Pattern::any(), Pattern::any_number());
        let mean = Pattern::node(mean, &[&x.square()]);
        let formula = over_root(&x, &(&mean + &epsilon));
        Spelling { measure: Measure::RootMeanSquare, x, epsilon, means: vec![mean], formula }
    };
    vec![layer, root_mean_square]
}

static SPELLINGS: LazyLock<Vec<Spelling>> = LazyLock::new(|| spellings(is_mean));

/// The same without the demand that axes stay: what comes near.
static NEAR: LazyLock<Vec<Spelling>> = LazyLock::new(|| spellings(is_any_mean));

/// The constant axes of a mean, counted from the front.
fn axes(graph: &Graph<'_>, mean: ValueId) -> Option<Vec<i64>> {
    let (node, _) = graph.producer(mean)?;
    let rank = i64::try_from(graph.tensor(node.inputs[0]?)?.shape.rank()?).ok()?;
    let given = match node.inputs.get(1).copied().flatten() {
        Some(axes) => graph.tensor(axes)?.constant_ints()?,
        None => Vec::new(),
    };
    let Op::Reduce(reduce) = &node.op else { return None };
    if given.is_empty() && reduce.noop_with_empty_axes {
        return None;
    }
    let mut axes: Vec<i64> = given.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
    if axes.is_empty() {
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    Some(axes)
}

/// Recognises the normalization whose last operation is this node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (Op::Pointwise(_), [result]) = (&node.op, &node.outputs[..]) else { return Ok(false) };
    let found = SPELLINGS.iter().find_map(|spelling| Some((spelling, spelling.formula.find(graph, *result)?)));
    let Some((spelling, found)) = found else {
        if NEAR.iter().any(|near| near.formula.find(graph, *result).is_some()) {
            miss!("a mean drops its axes");
        }
        return Ok(false);
    };
    let (Some(x), Some(epsilon)) = (found.value(&spelling.x), found.number(graph, &spelling.epsilon)) else {
        return Ok(false);
    };
    let mut all = spelling.means.iter().filter_map(|mean| found.value(mean)).map(|mean| axes(graph, mean));
    let Some(Some(first)) = all.next() else { miss!("the axes of a mean are not constant") };
    if all.any(|other| other.as_ref() != Some(&first)) {
        miss!("the means run over different axes");
    }
    let (x_type, result_type) = (graph.ty(x).data_type(), graph.ty(*result).data_type());
    if !result_type.is_float() || !x_type.is_float() || x_type.bits() > result_type.bits() {
        miss!("x is of type {x_type}, the result of type {result_type}");
    }
    patch.set_origins(found.nodes().iter().copied());
    // Inner casts widen x: widened before, the result has the type that it had.
    let x = if x_type == result_type {
        x
    } else {
        let cast = Expr::input(0, x_type).cast_with(result_type, CastMode::default());
        patch.add_one(Expr::into_pointwise(&[cast]).map_err(|e| Miss(e.to_string()))?, &[x])?
    };
    let op = Normalize { measure: spelling.measure.clone(), ..Normalize::deviation(first, epsilon) };
    let normalized = patch.add_one(op, &[x])?;
    patch.replace(*result, normalized);
    Ok(true)
}
