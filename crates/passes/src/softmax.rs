//! Softmax from its formula: `e / sum(e)` with `e = exp(x - max(x))` or `e = exp(x)`, along one constant axis that stays
//! with size 1. Does not fire when the reductions run over several axes, or over different ones.
//!
//! The operator subtracts the maximum in any case, which only differs where exp(x) would overflow.

use std::sync::LazyLock;

use sinter_ir::pattern::Pattern;
use sinter_ir::{Graph, Patch};
use sinter_ops::Op;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::reduce::{ReduceKind, Softmax};

use crate::pass::{Miss, miss};
use crate::reductions::{axes, keeps_axes, maybe_reshaped};

struct Spelling {
    x: Pattern,
    reductions: Vec<Pattern>,
    /// The same with the axis in place.
    kept: Vec<Pattern>,
    formula: Pattern,
}

fn is_sum(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum)
}

fn is_max(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Max)
}

static SPELLINGS: LazyLock<Vec<Spelling>> = LazyLock::new(|| {
    let shifted = {
        let x = Pattern::any();
        let largest = Pattern::node(is_max, &[&x]);
        // Some start the maximum at minus infinity.
        let started = largest.binary(ScalarOp::Max, &Pattern::number(f64::NEG_INFINITY));
        let kept = maybe_reshaped(&Pattern::either(&[&largest, &started]));
        let power = (&x - &kept).unary(ScalarOp::Exp);
        let sum = Pattern::node(is_sum, &[&power]);
        let sum_kept = maybe_reshaped(&sum);
        Spelling { formula: &power / &sum_kept, x, reductions: vec![largest, sum], kept: vec![kept, sum_kept] }
    };
    let plain = {
        let x = Pattern::any();
        let power = x.unary(ScalarOp::Exp);
        let sum = Pattern::node(is_sum, &[&power]);
        let kept = maybe_reshaped(&sum);
        Spelling { formula: &power / &kept, x, reductions: vec![sum], kept: vec![kept] }
    };
    vec![shifted, plain]
});

/// Recognises the softmax whose last operation is this node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (Op::Pointwise(_), [result]) = (&node.op, &node.outputs[..]) else { return Ok(false) };
    let found = SPELLINGS.iter().find_map(|spelling| Some((spelling, spelling.formula.find(graph, *result)?)));
    let Some((spelling, found)) = found else { return Ok(false) };
    let Some(x) = found.value(&spelling.x) else { return Ok(false) };
    let mut all = spelling.reductions.iter().filter_map(|r| found.value(r)).map(|r| axes(graph, r));
    let Some(Some(first)) = all.next() else { miss!("the axes of a reduction are not constant") };
    let &[axis] = first.as_slice() else { miss!("it runs over {} axes", first.len()) };
    if all.any(|other| other.as_ref() != Some(&first)) {
        miss!("the reductions run over different axes");
    }
    if !spelling.kept.iter().filter_map(|kept| found.value(kept)).all(|kept| keeps_axes(graph, x, kept, &first)) {
        miss!("a reduction drops its axis");
    }
    patch.set_origins(found.nodes().iter().copied());
    let softmax = patch.add_one(Softmax { axis, log: false }, &[x])?;
    patch.replace(*result, softmax);
    Ok(true)
}
