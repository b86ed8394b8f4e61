//! Converts indices to flat positions, checked once for all elements that the kernel then moves.

use sinter_backend::KernelError;
use sinter_base::View;
use sinter_base::shape::{element_count, strides, unravel};

use crate::arguments::integers;
use crate::launch::{Scratch, ScratchBuffer};
use crate::refuse_data;

/// An index, negative from the end, as a position in `0..size`.
#[inline]
pub fn wrapped(index: i64, size: usize) -> Option<usize> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let position = if index < 0 { index.wrapping_add(size) } else { index };
    if (0..size).contains(&position) { usize::try_from(position).ok() } else { None }
}

/// Flat positions in a tensor of `sizes` of the elements that `indices`, of the same rank, names along the axis.
///
/// # Errors
/// When sizes do not fit or an index lies outside.
pub fn element_positions<'r>(
    sizes: &[usize],
    indices: View<'_>,
    axis: usize,
    scratch: &'r Scratch,
) -> Result<ScratchBuffer<'r, usize>, KernelError> {
    let own = indices.sizes();
    if own.len() != sizes.len() || (0..sizes.len()).any(|a| a != axis && own[a] > sizes[a]) {
        refuse_data!("indices of sizes {own:?} do not lie within sizes {sizes:?} beside axis {axis}");
    }
    let values = integers(indices, scratch)?;
    let Some(&row) = own.last().filter(|_| !values.is_empty()) else { return Ok(scratch.allocate(0)) };
    let steps = strides(sizes);
    let (step, size, last) = (steps[axis], sizes[axis], own.len() - 1);
    // Within a row of indices either the axis runs, or the position beside it.
    let along = usize::from(axis != last);
    let mut positions = scratch.allocate(values.len());
    for (number, (row, positions)) in values.chunks_exact(row).zip(positions.chunks_exact_mut(row)).enumerate() {
        let at = unravel(number, &own[..last]);
        let start: usize = (0..last).filter(|&a| a != axis).map(|a| at[a] * steps[a]).sum();
        for (place, (&index, position)) in row.iter().zip(positions).enumerate() {
            match wrapped(index, size) {
                Some(index) => *position = start + index * step + place * along,
                None => refuse_data!("index {index} lies outside axis {axis} of {size} elements"),
            }
        }
    }
    Ok(positions)
}

/// Slices that index vectors name.
pub struct Slices<'a, 'r> {
    /// Flat position of the first element of each.
    pub starts: ScratchBuffer<'r, usize>,
    /// Sizes of each.
    pub sizes: &'a [usize],
}

/// The slices of a tensor of `sizes` that the vectors along the last axis of `indices` name, with leading axes that the
/// vectors' own position fills.
///
/// # Errors
/// When sizes do not fit or an entry lies outside.
pub fn slice_starts<'a, 'r>(
    sizes: &'a [usize],
    indices: View<'_>,
    batch_axes: usize,
    scratch: &'r Scratch,
) -> Result<Slices<'a, 'r>, KernelError> {
    let Some((&length, vectors)) = indices.sizes().split_last() else {
        refuse_data!("the indices are a scalar, at least one dimension is needed")
    };
    let named = batch_axes.saturating_add(length);
    if named > sizes.len() || batch_axes > vectors.len() || sizes[..batch_axes] != vectors[..batch_axes] {
        refuse_data!(
            "indices of sizes {:?} with {batch_axes} batch axes do not fit data of sizes {sizes:?}",
            indices.sizes()
        );
    }
    let (values, steps) = (integers(indices, scratch)?, strides(sizes));
    let count = element_count(vectors).unwrap_or(0);
    // Vectors per batch entry; batch axes lead in both, so an entry's number is its flat position over them.
    let each = element_count(&vectors[batch_axes..]).unwrap_or(0).max(1);
    let block: usize = sizes[batch_axes..].iter().product();
    let mut starts = scratch.allocate(count);
    for (vector, place) in starts.iter_mut().enumerate() {
        let mut start = vector / each * block;
        for (k, &index) in values[vector * length..(vector + 1) * length].iter().enumerate() {
            let size = sizes[batch_axes + k];
            match wrapped(index, size) {
                Some(index) => start += index * steps[batch_axes + k],
                None => refuse_data!("index {index} lies outside axis {} of {size} elements", batch_axes + k),
            }
        }
        *place = start;
    }
    Ok(Slices { starts, sizes: &sizes[named..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_count_from_both_ends() {
        assert_eq!((wrapped(-3, 3), wrapped(2, 3)), (Some(0), Some(2)));
        assert_eq!((wrapped(-4, 3), wrapped(3, 3), wrapped(i64::MIN, 3), wrapped(0, 0)), (None, None, None, None));
    }
}
