//! Losses: NegativeLogLikelihoodLoss-12..22, SoftmaxCrossEntropyLoss-12..13.

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::index::{Gather, GatherElements};
use sinter_ops::movement::{Squeeze, Unsqueeze};
use sinter_ops::reduce::{Reduce, ReduceKind, Softmax};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::{elementwise, elementwise_all, equal};
use crate::ops::sizes::integer;

/// `-weight[t] x[n, t, ..]` for the target class `t` of every place, zero where it is the ignored one. The mean divides
/// by the sum of the weights that took part.
fn likelihood_loss(cx: &mut NodeContext<'_, '_>, x: Handle) -> Result<Handle, Problem> {
    let (target, weight) = (cx.input(1)?, cx.optional(2));
    let target = cx.cast(target, DataType::I64)?;
    let ignored = cx.optional_int("ignore_index");
    // An ignored class may lie outside the classes: it is looked up as class 0 and masked.
    let class = match ignored {
        Some(ignored) => elementwise(cx, [target], |[t]| equal(&t, &integer(ignored)).select(&integer(0), &t))?,
        None => target,
    };
    let axis = cx.int_list(&[1]);
    let places = cx.add(Unsqueeze::default(), &[class, axis])?;
    let picked = cx.add(GatherElements { axis: 1 }, &[x, places])?;
    let picked = cx.add(Squeeze::default(), &[picked, axis])?;
    let weights = match weight {
        Some(weight) => Some(cx.add(Gather::default(), &[weight, class])?),
        None => None,
    };
    let (loss, weights) = match (weights, ignored) {
        (None, None) => (elementwise(cx, [picked], |[x]| -&x)?, None),
        (Some(weights), None) => (elementwise(cx, [picked, weights], |[x, w]| -&(&x * &w))?, Some(weights)),
        (weights, Some(ignored)) => {
            let weights = weights.unwrap_or(picked);
            let own = weights != picked;
            let both = elementwise_all(cx, [picked, weights, target], |[x, w, t]| {
                let skip = equal(&t, &integer(ignored));
                let weight = if own { w } else { x.same(1.0) };
                let zero = x.same(0.0);
                vec![skip.select(&zero, &-&(&x * &weight)), skip.select(&zero, &weight)]
            })?;
            match both.as_slice() {
                [loss, weights] => (*loss, Some(*weights)),
                _ => return Err(cx.problem("a loss without weights")),
            }
        }
    };
    match (cx.text("reduction", "mean").as_str(), weights) {
        ("none", _) => Ok(loss),
        ("sum", _) => cx.add(Reduce::new(ReduceKind::Sum, false), &[loss]),
        ("mean", None) => cx.add(Reduce::new(ReduceKind::Mean, false), &[loss]),
        ("mean", Some(weights)) => {
            let total = cx.add(Reduce::new(ReduceKind::Sum, false), &[loss])?;
            let weight = cx.add(Reduce::new(ReduceKind::Sum, false), &[weights])?;
            elementwise(cx, [total, weight], |[total, weight]| &total / &weight)
        }
        (other, _) => Err(cx.problem(format!("reduction '{other}' is unknown"))),
    }
}

/// NegativeLogLikelihoodLoss.
pub fn negative_log_likelihood(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    Ok(vec![likelihood_loss(cx, x)?])
}

/// SoftmaxCrossEntropyLoss: the same of the logarithm of softmax, which is the second result.
pub fn softmax_cross_entropy(cx: &mut NodeContext<'_, '_>) -> Imported {
    let scores = cx.input(0)?;
    let logarithms = cx.add(Softmax { axis: 1, log: true }, &[scores])?;
    Ok(vec![likelihood_loss(cx, logarithms)?, logarithms])
}
