//! Softmax from its formula: `e / sum(e)` with `e = exp(x - max(x))` or `e = exp(x)`, along one constant axis.
//!
//! The operator subtracts the maximum in any case, which only differs where exp(x) would overflow.

use std::sync::LazyLock;

use sinter_ir::pattern::Pattern;
use sinter_ir::{Graph, Patch};
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::reduce::{ReduceKind, Softmax};
use sinter_ops::{Op, ValueId};

use crate::pass::{Miss, miss};

struct Spelling {
    x: Pattern,
    reductions: Vec<Pattern>,
    formula: Pattern,
}

fn is_sum(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum && reduce.keep_dims)
}

fn is_max(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce) if reduce.kind == ReduceKind::Max && reduce.keep_dims)
}

static SPELLINGS: LazyLock<Vec<Spelling>> = LazyLock::new(|| {
    let shifted = {
        let x = Pattern::any();
        let largest = Pattern::node(is_max, &[&x]);
        let power = (&x - &largest).unary(ScalarOp::Exp);
        let sum = Pattern::node(is_sum, &[&power]);
        Spelling { formula: &power / &sum, x, reductions: vec![largest, sum] }
    };
    let plain = {
        let x = Pattern::any();
        let power = x.unary(ScalarOp::Exp);
        let sum = Pattern::node(is_sum, &[&power]);
        Spelling { formula: &power / &sum, x, reductions: vec![sum] }
    };
    vec![shifted, plain]
});

fn axes(graph: &Graph<'_>, reduction: ValueId) -> Option<Vec<i64>> {
    let (node, _) = graph.producer(reduction)?;
    let rank = i64::try_from(graph.tensor(reduction)?.shape.rank()?).ok()?;
    let given = graph.tensor(node.inputs.get(1).copied().flatten()?)?.constant_ints()?;
    Some(given.into_iter().map(|axis| if axis < 0 { axis + rank } else { axis }).collect())
}

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
    patch.set_origins(found.nodes().iter().copied());
    let softmax = patch.add_one(Softmax { axis, log: false }, &[x])?;
    patch.replace(*result, softmax);
    Ok(true)
}
