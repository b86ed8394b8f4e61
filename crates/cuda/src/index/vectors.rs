//! Index vectors: positions along the leading axes of a tensor, behind axes of batches that both share.

use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_base::shape::strides;

use crate::kernel::recipe;
use crate::movement::moves::axes;
use crate::space::{RANK, words};

/// `Vectors` in `indices.cuh`, and the slices that they name.
pub(crate) struct Vectors {
    length: usize,
    /// Vectors of a batch, and elements of a batch of the tensor.
    per_batch: usize,
    batch: usize,
    /// Of the axes that the entries of a vector name.
    sizes: Sizes,
    strides: Sizes,
    /// Sizes of a slice, and its elements.
    slice: Sizes,
    pub(crate) inner: usize,
}

/// Words of the description.
const WORDS: usize = 3 + 2 * RANK;

impl Vectors {
    /// The vectors of indices into a tensor of these sizes.
    ///
    /// # Errors
    /// When the indices do not fit the tensor.
    pub(crate) fn new(x: &[usize], indices: &[usize], batch_dims: usize) -> Result<Self, KernelError> {
        let mismatch = || recipe(format!("index vectors {indices:?} with {batch_dims} batch axes into {x:?}"));
        let (length, vectors) = indices.split_last().ok_or_else(mismatch)?;
        let (batches, rest) = x.split_at_checked(batch_dims).ok_or_else(mismatch)?;
        let (named, slice) = rest.split_at_checked(*length).ok_or_else(mismatch)?;
        let inside = vectors.strip_prefix(batches).ok_or_else(mismatch)?;
        if *length > RANK {
            return Err(mismatch());
        }
        Ok(Self {
            length: *length,
            per_batch: inside.iter().product(),
            batch: rest.iter().product(),
            sizes: named.into(),
            strides: strides(x)[batch_dims..batch_dims + length].into(),
            slice: slice.into(),
            inner: slice.iter().product(),
        })
    }

    /// Sizes of all slices that the indices name.
    pub(crate) fn slices<'s>(&'s self, indices: &'s [usize]) -> impl Iterator<Item = usize> + 's {
        let vectors = indices.split_last().map_or(&[][..], |(_, vectors)| vectors);
        vectors.iter().chain(&self.slice).copied()
    }

    /// The words of the description.
    pub(crate) fn words(&self) -> [u64; WORDS] {
        let mut all = [0; WORDS];
        let list = [self.length, self.per_batch, self.batch].into_iter().map(|size| size as u64);
        let list = list.chain(words(&axes(&self.sizes))).chain(words(&axes(&self.strides)));
        all.iter_mut().zip(list).for_each(|(word, value)| *word = value);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_name_slices_behind_the_batches() {
        let vectors = Vectors::new(&[2, 3, 4, 5], &[2, 7, 1], 1).expect("one entry each");
        assert_eq!(vectors.words()[..4], [1, 7, 60, 3]);
        assert_eq!((vectors.words()[3 + RANK], vectors.inner), (20, 20));
        assert!(vectors.slices(&[2, 7, 1]).eq([2, 7, 4, 5]));
        assert!(Vectors::new(&[2, 3], &[4, 3], 0).is_err() && Vectors::new(&[2, 3], &[3, 1], 1).is_err());
        assert!(Vectors::new(&[2], &[], 0).is_err());
    }
}
