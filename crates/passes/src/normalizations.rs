//! Layer and RMS normalization from their formulas, in any exporter's spelling.
//!
//! `d / sqrt(mean(d^2) + epsilon)` with `d = x - mean(x)`, and `x / sqrt(mean(x^2) + epsilon)`, over constant axes that
//! stay with size 1. The mean of squares may be `mean(x^2) - mean(x)^2`; a mean may be a sum times a number. A scale
//! may stand inside, `d (scale / sqrt(..))`, and a bias too, `x s + (bias - mean(x) s)` with `s = scale / sqrt(..)`:
//! behind the operator, both are elementwise work. Sources: Ba et al. 2016, Zhang and Sennrich 2019. Does not fire when
//! the means run over different axes, or drop them.

use std::sync::LazyLock;

use sinter_ir::pattern::{Pattern, Term, application};
use sinter_ir::{Graph, Patch};
use sinter_ops::norm::{Measure, Normalize};
use sinter_ops::pointwise::{CastMode, Expr, ScalarOp};
use sinter_ops::reduce::ReduceKind;
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::pass::{Miss, miss};
use crate::reductions::{axes, keeps_axes, maybe_reshaped};

struct Spelling {
    measure: Measure,
    x: Pattern,
    epsilon: Pattern,
    /// The means, all over the same axes.
    means: Vec<Pattern>,
    /// Values computed from them, with the reduced axes kept.
    kept: Vec<Pattern>,
    scale: Pattern,
    bias: Pattern,
    formula: Pattern,
}

fn is_mean(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Mean)
}

fn is_sum(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum)
}

/// The mean, also as a sum times a number.
fn mean(x: &Pattern) -> Pattern {
    let (sum, count) = (Pattern::node(is_sum, &[x]), Pattern::any_number());
    Pattern::either(&[&Pattern::node(is_mean, &[x]), &(&sum * &count), &(&sum / &count)])
}

/// `1 / sqrt(v)` in all its forms.
fn inverse_root(v: &Pattern) -> Pattern {
    let root = root(v);
    Pattern::either(&[
        &root.unary(ScalarOp::Reciprocal),
        &(&Pattern::number(1.0) / &root),
        &v.binary(ScalarOp::Pow, &Pattern::number(-0.5)),
    ])
}

fn root(v: &Pattern) -> Pattern {
    Pattern::either(&[&v.unary(ScalarOp::Sqrt), &v.binary(ScalarOp::Pow, &Pattern::number(0.5))])
}

/// `x / sqrt(v)` in all its forms, also with a scale.
fn over_root(x: &Pattern, v: &Pattern, scale: &Pattern) -> Pattern {
    let inverse = inverse_root(v);
    Pattern::either(&[&(x / &root(v)), &(x * &inverse), &(x * &(&inverse * scale))])
}

static SPELLINGS: LazyLock<Vec<Spelling>> = LazyLock::new(|| {
    let mut spellings = Vec::new();
    for of_squares in [false, true] {
        for with_bias in [false, true] {
            let (x, epsilon, scale, bias) = (Pattern::any(), Pattern::any_number(), Pattern::any(), Pattern::any());
            let first = mean(&x);
            let first_kept = maybe_reshaped(&first);
            let deviation = &x - &first_kept;
            let (second, variance) = if of_squares {
                let second = mean(&x.square());
                let difference = &second - &Pattern::either(&[&first, &first_kept]).square();
                let positive = difference.binary(ScalarOp::Max, &Pattern::number(0.0));
                (second, Pattern::either(&[&difference, &positive]))
            } else {
                let second = mean(&deviation.maybe_cast().square());
                (second.clone(), second)
            };
            let kept = maybe_reshaped(&variance);
            let formula = if with_bias {
                let inverse = inverse_root(&(&kept + &epsilon));
                let factor = Pattern::either(&[&(&inverse * &scale), &inverse]);
                &(&x * &factor) + &(&bias - &(&first_kept * &factor))
            } else {
                over_root(&deviation.maybe_cast(), &(&kept + &epsilon), &scale)
            };
            let (means, kept) = (vec![first, second], vec![first_kept, kept]);
            spellings.push(Spelling { measure: Measure::Deviation, x, epsilon, means, kept, scale, bias, formula });
        }
    }
    let (x, epsilon, scale, bias) = (Pattern::any(), Pattern::any_number(), Pattern::any(), Pattern::any());
    let mean = mean(&x.square());
    let kept = maybe_reshaped(&mean);
    let formula = over_root(&x, &(&kept + &epsilon), &scale);
    let (means, kept) = (vec![mean], vec![kept]);
    spellings.push(Spelling { measure: Measure::RootMeanSquare, x, epsilon, means, kept, scale, bias, formula });
    spellings
});

/// The constant axes of a mean, if it is one: a number that a sum is multiplied by must be one over its terms.
fn mean_axes(graph: &Graph<'_>, mean: ValueId) -> Option<Vec<i64>> {
    let Some(made) = application(graph, mean) else { return axes(graph, mean) };
    let number = |term: Term| match term {
        Term::Number(value) => Some(value),
        Term::Value(id) => graph.uniform(id),
    };
    let [a, b] = made.args[..] else { return None };
    let (sum, factor) = match (made.op, a, b, number(a), number(b)) {
        (ScalarOp::Mul, Term::Value(sum), _, None, Some(factor)) => (sum, factor),
        (ScalarOp::Mul, _, Term::Value(sum), Some(factor), None) => (sum, factor),
        (ScalarOp::Div, Term::Value(sum), _, None, Some(divisor)) => (sum, 1.0 / divisor),
        _ => return None,
    };
    let axes = axes(graph, sum)?;
    let dims = graph.tensor(graph.producer(sum)?.0.inputs[0]?)?.dims().ok()?;
    let terms: Option<Vec<i64>> =
        axes.iter().map(|&axis| dims.get(usize::try_from(axis).ok()?)?.as_constant()).collect();
    let terms = terms?.iter().map(|&size| size as f64).product::<f64>();
    ((factor * terms - 1.0).abs() < 1e-6).then_some(axes)
}

/// Recognises the normalization whose last operation is this node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (Op::Pointwise(_), [result]) = (&node.op, &node.outputs[..]) else { return Ok(false) };
    let found = SPELLINGS.iter().find_map(|spelling| Some((spelling, spelling.formula.find(graph, *result)?)));
    let Some((spelling, found)) = found else { return Ok(false) };
    let (Some(x), Some(epsilon)) = (found.value(&spelling.x), found.number(graph, &spelling.epsilon)) else {
        return Ok(false);
    };
    let mut all = spelling.means.iter().filter_map(|mean| found.value(mean)).map(|mean| mean_axes(graph, mean));
    let Some(Some(first)) = all.next() else {
        miss!("the axes of a mean are not constant, or its factor is not one over its terms")
    };
    if all.any(|other| other.as_ref() != Some(&first)) {
        miss!("the means run over different axes");
    }
    if !spelling.kept.iter().filter_map(|kept| found.value(kept)).all(|kept| keeps_axes(graph, x, kept, &first)) {
        miss!("a mean drops its axes");
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
    let mut y = patch.add_one(op, &[x])?;
    for (operand, operation) in [(&spelling.scale, ScalarOp::Mul), (&spelling.bias, ScalarOp::Add)] {
        let (normalized, value) = (Expr::input(0, result_type), found.value(operand));
        let number = found.number(graph, operand).map(|number| Expr::constant(result_type, number));
        let other = value.map(|_| Expr::input(1, result_type)).or(number);
        if let Some(other) = other {
            let op = Expr::into_pointwise(&[normalized.binary(operation, &other)]).map_err(|e| Miss(e.to_string()))?;
            let inputs: SmallVec<[ValueId; 2]> = [y].into_iter().chain(value).collect();
            y = patch.add_one(op, &inputs)?;
        }
    }
    patch.replace(*result, y);
    Ok(true)
}
