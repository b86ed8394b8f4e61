//! Reductions inside of formulas: their axes, and whether these axes stay with size 1.
//!
//! Exporters keep the axes, or drop them and put them back by a reshape.

use sinter_base::{Dim, Truth};
use sinter_ir::Graph;
use sinter_ir::pattern::Pattern;
use sinter_ops::{Op, ValueId};

use crate::reshapes::is_reshape;

/// A value as it is, or reshaped.
pub(crate) fn maybe_reshaped(value: &Pattern) -> Pattern {
    Pattern::either(&[value, &Pattern::node(is_reshape, &[value])])
}

/// The constant axes of a reduction, counted from the front.
pub(crate) fn axes(graph: &Graph<'_>, reduction: ValueId) -> Option<Vec<i64>> {
    let (node, _) = graph.producer(reduction)?;
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

/// Are the axes there with size 1, and all others as in x? A reshape keeps the elements, so that one size may be
/// dynamic.
pub(crate) fn keeps_axes(graph: &Graph<'_>, x: ValueId, reduced: ValueId, axes: &[i64]) -> bool {
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
    let (Some(x), Some(reduced)) = (dims(x), dims(reduced)) else { return false };
    let is_axis = |at: usize| i64::try_from(at).is_ok_and(|at| axes.contains(&at));
    let ones = reduced.iter().enumerate().filter(|(at, _)| is_axis(*at));
    let others = || reduced.iter().zip(x).enumerate().filter(|(at, _)| !is_axis(*at)).map(|(_, pair)| pair);
    let open = others().filter(|(own, of_x)| own.equals(of_x) != Truth::Yes).count();
    x.len() == reduced.len()
        && ones.map(|(_, dim)| dim).all(|dim: &Dim| dim.as_constant() == Some(1))
        && others().all(|(own, of_x)| own.equals(of_x) != Truth::No)
        && open <= 1
}
