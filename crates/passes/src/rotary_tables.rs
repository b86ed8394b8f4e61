//! The tables of a rotary embedding: cosine and sine by step and pair, as the operator reads them.
//!
//! A formula over all components needs each angle twice. Exporters make such tables by concatenating the angles with
//! themselves, or ship them as weights; the operator reads each angle once, so the pass must prove that both are equal.

use std::sync::Arc;

use sinter_base::{Dim, Tensor, Truth};
use sinter_ir::{Graph, Patch, WeightExpr};
use sinter_ops::movement::{Slice, Transpose};
use sinter_ops::{Op, ValueId};

use crate::identities::same_dims;
use crate::pass::{Miss, miss};
use crate::reshapes::{dims_of, is_reshape, reshaped};

/// How the components of a pair lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pairs {
    /// i and D / 2 + i.
    Halves,
    /// 2 i and 2 i + 1.
    Neighbours,
}

/// How a table lies over x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrangement {
    /// The axis of x that the table does not have: heads.
    pub(crate) heads_axis: Option<usize>,
    /// One table for all batches.
    pub(crate) is_shared: bool,
}

/// A table [steps, D / 2] for all batches, or [batch, steps, D / 2].
pub(crate) struct Table {
    pub(crate) value: ValueId,
    pub(crate) arrangement: Arrangement,
}

impl Table {
    /// The table that broadcasts to x, of these sizes with the components last.
    pub(crate) fn of(patch: &mut Patch<'_>, table: ValueId, x: &[Dim]) -> Result<Self, Miss> {
        let own = dims_of(patch, table)?;
        let (3 | 4, Some(missing)) = (x.len(), x.len().checked_sub(own.len())) else {
            miss!("x of {} dimensions, a table of {}", x.len(), own.len());
        };
        let mut sizes = vec![Dim::constant(1); missing];
        sizes.extend(own);
        let is_one = |axis: usize| sizes[axis].as_constant() == Some(1);
        let is_own = |axis: usize| sizes[axis].equals(&x[axis]) == Truth::Yes;
        let pairs = &x[x.len() - 1];
        let columns = &sizes[x.len() - 1];
        if columns.mul(&Dim::constant(2)).equals(pairs) != Truth::Yes {
            miss!("tables of {columns} columns for {pairs} components");
        }
        let candidates: &[(Option<usize>, usize)] =
            if x.len() == 3 { &[(None, 1)] } else { &[(Some(1), 2), (Some(2), 1)] };
        let fits = |&&(heads, steps): &&(Option<usize>, usize)| heads.is_none_or(is_one) && is_own(steps);
        let Some(&(heads_axis, steps)) = candidates.iter().find(fits) else {
            miss!("a table of {} does not have one row for each step", patch.ty(table));
        };
        let is_shared = !is_own(0);
        if is_shared && !is_one(0) {
            miss!("a table of {} batches for {}", sizes[0], x[0]);
        }
        let mut to = vec![sizes[steps].clone(), columns.clone()];
        if !is_shared {
            to.insert(0, sizes[0].clone());
        }
        let value = reshaped(patch, table, &to)?;
        Ok(Self { value, arrangement: Arrangement { heads_axis, is_shared } })
    }
}

/// Each angle of a table once.
pub(crate) fn once(patch: &mut Patch<'_>, table: ValueId, pairs: Pairs) -> Result<ValueId, Miss> {
    let size = dims_of(patch, table)?.last().and_then(Dim::as_constant);
    let Some(size) = size.filter(|size| size % 2 == 0) else { miss!("a table without an even number of columns") };
    let (end, step) = match pairs {
        Pairs::Halves => (size / 2, 1),
        Pairs::Neighbours => (size, 2),
    };
    let lists = [0, end, -1, step].map(|entry| patch.int_list(&[entry]));
    let [start, end, axis, step] = lists;
    Ok(patch.add_one(Slice::default(), &[table, start, end, axis, step])?)
}

/// Does the last axis provably hold every angle twice, at the positions of a pair?
pub(crate) fn holds_twice(graph: &Graph<'_>, value: ValueId, pairs: Pairs) -> bool {
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok()).unwrap_or_default();
    let last = |id: ValueId| dims(id).last().and_then(Dim::as_constant);
    let rank = |id: ValueId| graph.tensor(id).and_then(|ty| ty.shape.rank());
    if let Some(expr) = graph.weight(value) {
        return weight_holds_twice(expr, pairs, dims(value).len());
    }
    let Some((node, _)) = graph.producer(value) else { return false };
    let Some(&Some(first)) = node.inputs.first() else { return false };
    let is_last = |axis: i64| axis == -1 || usize::try_from(axis).is_ok_and(|axis| axis + 1 == dims(value).len());
    let keeps_last = last(first).is_some() && last(first) == last(value);
    let go_on = || holds_twice(graph, first, pairs);
    match &node.op {
        Op::Pointwise(_) => node.inputs.iter().flatten().all(|&id| {
            // Broadcast along the last axis, all of it is equal.
            rank(id) == Some(0) || last(id) == Some(1) || holds_twice(graph, id, pairs)
        }),
        Op::Concat(op) if is_last(op.axis) => {
            pairs == Pairs::Halves && matches!(node.inputs.as_slice(), [a, b] if a == b)
        }
        op if is_reshape(op) => match (dims(first), dims(value)) {
            ([leading @ .., _, two], [own @ .., _])
                if pairs == Pairs::Neighbours && two.as_constant() == Some(2) && same_dims(leading, own) =>
            {
                is_side_by_side(graph, first)
            }
            _ => keeps_last && go_on(),
        },
        Op::Transpose(Transpose { permutation: Some(permutation) }) => {
            permutation.last().is_some_and(|axis| axis + 1 == permutation.len()) && go_on()
        }
        Op::Gather(op) => usize::try_from(op.axis).is_ok_and(|axis| axis + 1 < dims(first).len()) && go_on(),
        Op::Tile(_) => match (last(first), last(value)) {
            (Some(size), Some(twice)) if twice == 2 * size => pairs == Pairs::Halves,
            _ => keeps_last && go_on(),
        },
        Op::Expand(_) | Op::Slice(_) => keeps_last && go_on(),
        _ => false,
    }
}

/// Are the two elements along the last axis the same?
fn is_side_by_side(graph: &Graph<'_>, value: ValueId) -> bool {
    let Some((node, _)) = graph.producer(value) else { return false };
    let first = node.inputs.first().copied().flatten().and_then(|id| graph.tensor(id)?.dims().ok()?.last());
    let is_one = first.and_then(Dim::as_constant) == Some(1);
    match &node.op {
        Op::Expand(_) | Op::Tile(_) => is_one,
        Op::Concat(_) => is_one && matches!(node.inputs.as_slice(), [a, b] if a == b),
        _ => false,
    }
}

/// The same of a weight with as many axes. Its known contents are as reliable as those of any other constant.
fn weight_holds_twice(expr: &Arc<WeightExpr>, pairs: Pairs, rank: usize) -> bool {
    match &**expr {
        WeightExpr::Source { is_refittable: true, .. } => false,
        WeightExpr::Source { tensor, .. } => tensor_holds_twice(tensor, pairs),
        WeightExpr::Apply { op: Op::Concat(op), inputs, .. } => {
            let is_last = op.axis == -1 || usize::try_from(op.axis).is_ok_and(|axis| axis + 1 == rank);
            let is_same = matches!(inputs.as_slice(), [Some(a), Some(b)] if Arc::ptr_eq(a, b));
            is_last && is_same && pairs == Pairs::Halves
        }
        WeightExpr::Apply { op: Op::Pointwise(_), inputs, .. } => inputs.iter().flatten().all(|input| {
            let is_number = matches!(&**input, WeightExpr::Source { tensor, .. } if tensor.count() == 1);
            is_number || weight_holds_twice(input, pairs, rank)
        }),
        WeightExpr::Apply { .. } => false,
    }
}

fn tensor_holds_twice(tensor: &Tensor, pairs: Pairs) -> bool {
    let Some(&columns) = tensor.sizes().last().filter(|size| **size > 0 && **size % 2 == 0) else { return false };
    tensor.data_type().is_float()
        && tensor.to_floats().chunks_exact(columns).all(|row| match pairs {
            Pairs::Halves => row[..columns / 2] == row[columns / 2..],
            Pairs::Neighbours => row.chunks_exact(2).all(|pair| pair[0] == pair[1]),
        })
}
