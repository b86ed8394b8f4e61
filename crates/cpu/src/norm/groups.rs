//! The groups of elements that share statistics, in as few axes as possible.
//!
//! Axis 1 is split where it has groups, axes of one element are dropped, and neighbouring axes of the same kind are
//! merged. Layer, instance and group normalization become rows of neighbours; normalization over the batch becomes
//! planes between them.

use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_base::shape::{for_each_index, ravel, strides};
use smallvec::{SmallVec, smallvec};

use crate::launch::{Scratch, ScratchBuffer};

/// Axes of alternating kinds.
#[derive(Debug)]
pub struct Groups {
    sizes: Sizes,
    /// Is the axis normalized, so that its elements belong together?
    together: SmallVec<[bool; 8]>,
}

impl Groups {
    /// The groups of a tensor of these sizes.
    ///
    /// # Errors
    /// When an axis does not exist, or groups do not divide axis 1.
    pub fn new(x: &[usize], axes: &[i64], parts: Option<usize>) -> Result<Self, KernelError> {
        let mut normalized: SmallVec<[bool; 8]> = smallvec![false; x.len()];
        for &axis in axes {
            let position = sinter_ops::axes::axis_of(axis, x.len()).map_err(|e| KernelError::Data(e.to_string()))?;
            normalized[position] = true;
        }
        let mut groups = Self { sizes: Sizes::new(), together: SmallVec::new() };
        for (axis, (&size, &together)) in x.iter().zip(&normalized).enumerate() {
            match parts {
                Some(parts) if axis == 1 => {
                    if parts == 0 || size % parts != 0 {
                        return Err(KernelError::Data(format!("{size} channels in {parts} groups")));
                    }
                    groups.push(parts, false);
                    groups.push(size / parts, true);
                }
                _ => groups.push(size, together),
            }
        }
        Ok(groups)
    }

    fn push(&mut self, size: usize, together: bool) {
        match (self.sizes.last_mut(), self.together.last()) {
            _ if size == 1 => {}
            (Some(last), Some(&kind)) if kind == together => *last *= size,
            _ => {
                self.sizes.push(size);
                self.together.push(together);
            }
        }
    }

    fn product(&self, together: bool) -> usize {
        self.sizes.iter().zip(&self.together).filter(|(_, kind)| **kind == together).map(|(size, _)| size).product()
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        self.product(false)
    }

    /// Elements of each group.
    pub fn elements(&self) -> usize {
        self.product(true)
    }

    /// Is every group one run of neighbours, one after the other?
    pub fn are_rows(&self) -> bool {
        matches!(self.together.as_slice(), [] | [_] | [false, true])
    }

    /// Length of the innermost rows, and whether the elements of a row belong to one group. Otherwise each element
    /// belongs to its own, and the groups of a row are neighbours.
    pub fn row(&self) -> (usize, bool) {
        (self.sizes.last().copied().unwrap_or(1), self.together.last().copied().unwrap_or(true))
    }

    /// Sizes and distances of all axes of one kind but the innermost axis.
    fn outer(&self, together: bool) -> (Sizes, Sizes) {
        let strides = strides(&self.sizes);
        let last = self.sizes.len().saturating_sub(1);
        let of_kind = |&axis: &usize| self.together[axis] == together;
        let pick = |list: &Sizes| (0..last).filter(of_kind).map(|axis| list[axis]).collect();
        (pick(&self.sizes), pick(&strides))
    }

    /// Where the rows of each block of groups begin. The groups of a block share their rows: a block is one group where
    /// each row belongs to one group, and as many groups as a row has elements otherwise.
    pub fn blocks<'r>(&self, scratch: &'r Scratch) -> GroupBlocks<'r> {
        let ((starts, start_strides), (rows, row_strides)) = (self.outer(false), self.outer(true));
        let list = |sizes: &Sizes, strides: &Sizes| {
            let mut positions = scratch.allocate(sizes.iter().product());
            let mut places = positions.iter_mut();
            for_each_index(sizes, |at| {
                if let Some(place) = places.next() {
                    *place = ravel(at, strides);
                }
            });
            positions
        };
        GroupBlocks { starts: list(&starts, &start_strides), rows: list(&rows, &row_strides) }
    }

    /// The block of every row, in row-major order of the rows.
    pub fn block_of_rows<'r>(&self, scratch: &'r Scratch) -> ScratchBuffer<'r, usize> {
        let last = self.sizes.len().saturating_sub(1);
        let (kept, _) = self.outer(false);
        let kept_strides = strides(&kept);
        let mut blocks = scratch.allocate(self.sizes[..last].iter().product());
        let mut places = blocks.iter_mut();
        for_each_index(&self.sizes[..last], |at| {
            let kept = at.iter().zip(&self.together).filter(|(_, together)| !**together).map(|(i, _)| i);
            if let Some(place) = places.next() {
                *place = kept.zip(&kept_strides).map(|(i, s)| i * s).sum();
            }
        });
        blocks
    }
}

/// Positions of the rows of groups.
pub struct GroupBlocks<'r> {
    /// First element of every block.
    pub starts: ScratchBuffer<'r, usize>,
    /// The rows of a block, counted from its first element.
    pub rows: ScratchBuffer<'r, usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(x: &[usize], axes: &[i64], parts: Option<usize>) -> Groups {
        Groups::new(x, axes, parts).unwrap()
    }

    #[test]
    fn neighbouring_axes_are_merged() {
        let layer = groups(&[2, 5, 4, 3], &[-2, -1], None);
        assert_eq!((layer.count(), layer.elements(), layer.are_rows()), (10, 12, true));
        let parted = groups(&[2, 6, 3], &[2], Some(3));
        assert_eq!((parted.count(), parted.elements(), parted.are_rows()), (6, 6, true));
        let batch = groups(&[4, 3, 1, 7], &[0, 2, 3], None);
        assert_eq!((batch.count(), batch.elements(), batch.row()), (3, 28, (7, true)));
        assert!(!batch.are_rows());
        assert!(Groups::new(&[2, 5], &[0], Some(2)).is_err());
    }

    #[test]
    fn rows_know_their_block() {
        let batch = groups(&[2, 3, 4], &[0, 2], None);
        let scratch = Scratch::default();
        let blocks = batch.blocks(&scratch);
        assert_eq!((blocks.starts[..].to_vec(), blocks.rows[..].to_vec()), (vec![0, 4, 8], vec![0, 12]));
        assert_eq!(batch.block_of_rows(&scratch)[..], [0, 1, 2, 0, 1, 2]);
        let middle = groups(&[2, 3, 4], &[1], None);
        assert_eq!((middle.row(), middle.blocks(&scratch).starts[..].to_vec()), ((4, false), vec![0, 12]));
        assert_eq!(middle.block_of_rows(&scratch)[..], [0, 0, 0, 1, 1, 1]);
    }
}
