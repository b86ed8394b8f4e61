//! Batches of matrices in the form that attention requires: one axis of batches, one of heads.
//!
//! Exporters group these leading axes to fit a mask: `[B H, S, T]` becomes `[B, H, S, T]` to add one per batch,
//! `[B W, H, S, T]` becomes `[B, W, H, S, T]` to add one per window. The finest grouping met decides: its first axis is
//! the batch, all others together are heads. So a mask that repeats over a part of the batch is one that differs by
//! head, and does not grow with the batch.

use std::ops::Range;

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::{Expand, Unsqueeze};
use sinter_ops::{Op, ValueId};

use crate::identities::same_dims;
use crate::pass::{Miss, miss};
use crate::reshapes::{dims_of, is_reshape, reshaped};

/// The leading axes of the scores, in the finest grouping found.
pub(crate) struct Heads {
    fine: Vec<Dim>,
}

/// The sizes of a value of matrices: the leading ones, and the two of a matrix.
pub(crate) fn matrices(patch: &Patch<'_>, id: ValueId) -> Result<(Vec<Dim>, [Dim; 2]), Miss> {
    let dims = dims_of(patch, id)?;
    match dims.as_slice() {
        [leading @ .., rows, columns] => Ok((leading.to_vec(), [rows.clone(), columns.clone()])),
        _ => miss!("an operand has {} dimensions", dims.len()),
    }
}

fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::constant(1), |all, dim| all.mul(dim))
}

fn is_one(dim: &Dim) -> bool {
    dim.as_constant() == Some(1)
}

/// For each axis of a grouping, the finer axes that it is made of.
fn spans(coarse: &[Dim], fine: &[Dim]) -> Option<Vec<Range<usize>>> {
    let mut at = 0;
    let mut spans = Vec::with_capacity(coarse.len());
    for axis in coarse {
        let start = at;
        while product(&fine[start..at]).equals(axis) != Truth::Yes {
            at = Some(at + 1).filter(|at| *at <= fine.len())?;
        }
        spans.push(start..at);
    }
    fine[at..].iter().all(is_one).then_some(spans)
}

impl Heads {
    /// Grouped as the leading axes of a value.
    pub(crate) fn of(patch: &Patch<'_>, scores: ValueId) -> Result<Self, Miss> {
        Ok(Self { fine: matrices(patch, scores)?.0 })
    }

    /// Refines the grouping by that of a reshape; false when the reshape does more than group leading axes.
    pub(crate) fn regroup(&mut self, patch: &Patch<'_>, from: ValueId, to: ValueId) -> Result<bool, Miss> {
        let ((before, own), (_, matrix)) = (matrices(patch, from)?, matrices(patch, to)?);
        if before.len() > self.fine.len() {
            self.fine = before;
        }
        Ok(same_dims(&own, &matrix))
    }

    /// An operand as [batch, heads, rows, columns]. In two leading axes it stays as it is: the operator shares heads.
    pub(crate) fn operand(&self, patch: &mut Patch<'_>, x: ValueId) -> Result<ValueId, Miss> {
        let (leading, matrix) = matrices(patch, x)?;
        match (leading.len(), self.fine.as_slice()) {
            (2, [_, _]) => Ok(x),
            (1, [_]) => added_axes(patch, x, &[1]),
            (0, []) => added_axes(patch, x, &[0, 1]),
            (_, [batch, heads @ ..]) if spans(&leading, &self.fine).is_some() => {
                let [rows, columns] = matrix;
                reshaped(patch, x, &[batch.clone(), product(heads), rows, columns])
            }
            _ => miss!("the batches of an operand are grouped in another way, or broadcast"),
        }
    }

    /// A mask that is added to scores with these leading axes, in the finest grouping.
    pub(crate) fn mask(&self, patch: &mut Patch<'_>, mask: ValueId, grouping: &[Dim]) -> Result<ValueId, Miss> {
        let dims = dims_of(patch, mask)?;
        let [own @ .., rows, columns] = dims.as_slice() else { return Ok(mask) };
        if own.is_empty() || same_dims(grouping, &self.fine) {
            return Ok(mask);
        }
        let Some(spans) = spans(grouping, &self.fine) else { miss!("a mask's batches are grouped in another way") };
        let missing = grouping.len() - own.len().min(grouping.len());
        let mut to = vec![Dim::constant(1); self.fine.len()];
        for ((axis, size), span) in own.iter().zip(&grouping[missing..]).zip(&spans[missing..]) {
            match axis.equals(size) {
                _ if is_one(axis) => {}
                Truth::Yes => to[span.clone()].clone_from_slice(&self.fine[span.clone()]),
                _ => miss!("a mask of {axis} batches or heads for {size}"),
            }
        }
        to.extend([rows.clone(), columns.clone()]);
        reshaped(patch, mask, &to)
    }

    /// A mask in the finest grouping as [batch, heads, rows, columns].
    pub(crate) fn joined_mask(&self, patch: &mut Patch<'_>, mask: ValueId) -> Result<ValueId, Miss> {
        let dims = dims_of(patch, mask)?;
        let [own @ .., rows, columns] = dims.as_slice() else { return Ok(mask) };
        if own.len() == 1 && self.fine.len() == 1 {
            return added_axes(patch, mask, &[1]);
        }
        if own.is_empty() || self.fine.len() <= 2 {
            return Ok(mask);
        }
        // Heads are joined where the mask has all of them or none.
        let missing = self.fine.len() - own.len().min(self.fine.len());
        let padded: Vec<Dim> = vec![Dim::constant(1); missing].into_iter().chain(own.iter().cloned()).collect();
        let ([batch, heads @ ..], [_, all @ ..]) = (padded.as_slice(), self.fine.as_slice()) else { return Ok(mask) };
        let is_shared = heads.iter().all(is_one);
        let mut whole = mask;
        if !is_shared && !same_dims(heads, all) {
            let sizes: Option<Vec<i64>> = all.iter().map(Dim::as_constant).collect();
            let Some(mut sizes) = sizes else { miss!("a mask differs by window, of which the number is not known") };
            sizes.extend([1, 1]);
            let sizes = patch.int_list(&sizes);
            whole = patch.add_one(Expand::default(), &[mask, sizes])?;
        }
        let heads = if is_shared { Dim::constant(1) } else { product(all) };
        reshaped(patch, whole, &[batch.clone(), heads, rows.clone(), columns.clone()])
    }

    /// The result in the sizes of the value that it replaces.
    pub(crate) fn restored(&self, patch: &mut Patch<'_>, y: ValueId, old: ValueId) -> Result<ValueId, Miss> {
        let to = dims_of(patch, old)?;
        if to.len() == 4 && self.fine.len() == 2 {
            return Ok(y);
        }
        reshaped(patch, y, &to)
    }
}

fn added_axes(patch: &mut Patch<'_>, x: ValueId, axes: &[i64]) -> Result<ValueId, Miss> {
    let axes = patch.int_list(axes);
    Ok(patch.add_one(Unsqueeze::default(), &[x, axes])?)
}

/// `[B, H, T, D]` under a repetition of each head: `[B, H, 1, T, D]`, expanded, and taken as `[B, H n, T, D]`.
pub(crate) fn unrepeated(graph: &Graph<'_>, patch: &mut Patch<'_>, x: ValueId) -> Result<Option<ValueId>, Miss> {
    if x.index() >= graph.body().value_count() {
        return Ok(None);
    }
    let Some((node, _)) = graph.producer(x).filter(|(node, _)| is_reshape(&node.op)) else { return Ok(None) };
    let Some(wide) = node.inputs.first().copied().flatten() else { return Ok(None) };
    let Some((node, _)) = graph.producer(wide).filter(|(node, _)| matches!(node.op, Op::Expand(_) | Op::Tile(_)))
    else {
        return Ok(None);
    };
    let Some(narrow) = node.inputs.first().copied().flatten() else { return Ok(None) };
    let (narrow_dims, wide, to) = (dims_of(patch, narrow)?, dims_of(patch, wide)?, dims_of(patch, x)?);
    let ([b, h, one, t, d], [all_b, all_h, times, all_t, all_d], [to_b, to_h, to_t, to_d]) =
        (narrow_dims.as_slice(), wide.as_slice(), to.as_slice())
    else {
        return Ok(None);
    };
    let kept = [b, h, t, d].map(Clone::clone);
    let is_repeated = is_one(one)
        && same_dims(&kept, &[all_b, all_h, all_t, all_d].map(Clone::clone))
        && same_dims(&[b.clone(), h.mul(times), t.clone(), d.clone()], &[to_b, to_h, to_t, to_d].map(Clone::clone));
    is_repeated.then(|| reshaped(patch, narrow, &kept)).transpose()
}
