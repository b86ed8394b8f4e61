//! The lines of a contiguous tensor along one axis.

use sinter_base::Sizes;

/// `Lines` in `lines.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Elements before the axis.
    pub(crate) outer: usize,
    /// Size of the axis.
    pub(crate) length: usize,
    /// Elements behind the axis.
    pub(crate) inner: usize,
}

impl Lines {
    /// The lines along `axis`; a tensor without such an axis is one element.
    pub(crate) fn along(sizes: &[usize], axis: usize) -> Self {
        let count = |sizes: &[usize]| sizes.iter().product();
        match sizes.split_at_checked(axis) {
            Some((outer, [length, inner @ ..])) => Self { outer: count(outer), length: *length, inner: count(inner) },
            _ => Self { outer: 1, length: 1, inner: 1 },
        }
    }

    /// The words of the description.
    pub(crate) fn words(self) -> [u64; 3] {
        [self.outer, self.length, self.inner].map(|size| size as u64)
    }
}

/// Sizes with those of one axis left out.
pub(crate) fn without(sizes: &[usize], axis: usize) -> Sizes {
    sizes.iter().enumerate().filter(|(at, _)| *at != axis).map(|(_, size)| *size).collect()
}
