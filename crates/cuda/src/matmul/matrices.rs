//! The structure `Matrices` in `include/matrices.cuh`: stacked matrices of a product, and the operands of its epilogue.

use smallvec::SmallVec;

use crate::epilogue::{Epilogue, Placed};
use crate::space::{Space, words};

/// The structure `Matrices` of the text, but for the operands of the epilogue.
pub(crate) struct Matrices {
    /// m, n and k.
    pub(crate) sizes: [usize; 3],
    /// Of the left operand, the right one, and the result.
    pub(crate) addresses: [u64; 3],
    /// Elements from one row in memory to the next, of the same.
    pub(crate) rows: [usize; 3],
    /// Elements of a matrix of the left operand and of the right one, and from one matrix of the result to the next.
    pub(crate) elements: [usize; 3],
    /// May eight columns of the result be stored at once?
    pub(crate) wide: bool,
    /// Matrices of the result.
    pub(crate) stacks: usize,
    /// The axes of the stack, with the matrices between neighbours of the left operand and the right one, and the elements
    /// between neighbours of those of the epilogue.
    pub(crate) space: Space,
}

impl Matrices {
    /// The words, with the operands of the epilogue and their distances along rows and columns.
    pub(crate) fn words<'t>(
        &self,
        epilogue: &Epilogue,
        beside: impl IntoIterator<Item = (&'t Placed<'t>, i64, i64)>,
    ) -> SmallVec<[u64; 96]> {
        let steps = |index: usize| self.space.strides.get(index).cloned().unwrap_or_default();
        let size = |size: &usize| *size as u64;
        let mut list: SmallVec<[u64; 96]> = self.sizes.iter().map(size).collect();
        list.extend(self.addresses);
        list.extend(self.rows.iter().chain(&self.elements).map(size));
        let beside = beside.into_iter().enumerate();
        let beside: SmallVec<[_; 4]> =
            beside.map(|(at, (placed, row, column))| (placed, row, column, steps(2 + at))).collect();
        let wide = self.wide && beside.iter().all(|(placed, row, column, steps)| placed.is_wide(*row, *column, steps));
        list.extend([u64::from(wide), self.stacks as u64, self.space.sizes.len() as u64]);
        list.extend(words(&self.space.sizes));
        list.extend(words(&steps(0)));
        list.extend(words(&steps(1)));
        list.extend(epilogue.words(beside));
        list
    }
}
