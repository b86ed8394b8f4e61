//! The elements of a result, with the places of its operands' elements: axes of a result, merged as far as all operands lie
//! alike.

use sinter_base::shape::broadcast_strides;
use smallvec::SmallVec;

/// Axes of a space at most; `RANK` in `types.cuh`.
pub const RANK: usize = 8;

/// One number by axis.
pub type Axes = SmallVec<[i64; RANK]>;

/// A space of axes, and by operand the distance of neighbours along each axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Sizes, outermost first; at least one axis.
    pub sizes: Axes,
    /// Elements from one position to the next, by operand and axis; 0 where an element is repeated.
    pub strides: SmallVec<[Axes; 8]>,
}

fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Space {
    /// The space of a result of these sizes, for operands that broadcast to it; `None` where one does not, or the axes are
    /// too many.
    pub fn broadcast<'s>(sizes: &[usize], operands: impl IntoIterator<Item = &'s [usize]>) -> Option<Self> {
        let strides = |operand: &[usize]| {
            let lead = sizes.len().checked_sub(operand.len())?;
            let fits = operand.iter().zip(&sizes[lead..]).all(|(own, size)| own == size || *own == 1);
            fits.then(|| broadcast_strides(operand, sizes).iter().map(|stride| number(*stride)).collect())
        };
        let strides = operands.into_iter().map(strides).collect::<Option<_>>()?;
        Self { sizes: sizes.iter().map(|size| number(*size)).collect(), strides }.merged()
    }

    /// The same elements in the same order on as few axes as possible; `None` where those are too many.
    pub fn merged(self) -> Option<Self> {
        let mut merged = Self { sizes: Axes::new(), strides: self.strides.iter().map(|_| Axes::new()).collect() };
        for (axis, &size) in self.sizes.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let continues = |(whole, own): (&Axes, &Axes)| whole.last().is_some_and(|outer| *outer == own[axis] * size);
            if !merged.sizes.is_empty() && merged.strides.iter().zip(&self.strides).all(continues) {
                if let Some(outer) = merged.sizes.last_mut() {
                    *outer *= size;
                }
                for (whole, own) in merged.strides.iter_mut().zip(&self.strides) {
                    if let Some(outer) = whole.last_mut() {
                        *outer = own[axis];
                    }
                }
            } else {
                merged.sizes.push(size);
                for (whole, own) in merged.strides.iter_mut().zip(&self.strides) {
                    whole.push(own[axis]);
                }
            }
        }
        if merged.sizes.is_empty() {
            merged.sizes.push(1);
            merged.strides.iter_mut().for_each(|strides| strides.push(0));
        }
        (merged.sizes.len() <= RANK).then_some(merged)
    }

    /// The size of the innermost axis.
    pub fn inner(&self) -> i64 {
        self.sizes.last().copied().unwrap_or(1)
    }
}

/// The numbers of all axes as words of a kernel's parameters.
pub fn words(axes: &Axes) -> [u64; RANK] {
    let mut words = [0; RANK];
    words.iter_mut().zip(axes).for_each(|(word, axis)| *word = axis.cast_unsigned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(list: &[i64]) -> Axes {
        Axes::from_slice(list)
    }

    #[test]
    fn axes_merge_where_all_operands_continue() {
        let space = Space::broadcast(&[2, 3, 4], [&[2usize, 3, 4][..], &[]]).expect("operands that broadcast");
        assert_eq!((space.sizes, space.strides.to_vec()), (axes(&[24]), vec![axes(&[1]), axes(&[0])]));
        let space = Space::broadcast(&[2, 3, 4, 5], [&[2usize, 3, 4, 5][..], &[3, 1, 1]]).expect("a bias of channels");
        assert_eq!(space.sizes, axes(&[2, 3, 20]));
        assert_eq!(space.strides.to_vec(), [axes(&[60, 20, 1]), axes(&[0, 1, 0])]);
        let space = Space::broadcast(&[1, 1], [&[1usize][..]]).expect("one element");
        assert_eq!((space.sizes, space.strides.to_vec()), (axes(&[1]), vec![axes(&[0])]));
        assert_eq!(Space::broadcast(&[2, 3], [&[2usize][..]]), None);
        assert_eq!(Space::broadcast(&[3], [&[2usize, 3][..]]), None);
    }

    #[test]
    fn the_order_of_elements_stays() {
        let sizes = [3usize, 1, 4, 2];
        let operand = [3usize, 1, 1, 2];
        let space = Space::broadcast(&sizes, [&operand[..]]).expect("operands that broadcast");
        let mut found = Vec::new();
        for at in 0..24i64 {
            let (mut rest, mut place) = (at, 0);
            for axis in (0..space.sizes.len()).rev() {
                place += rest % space.sizes[axis] * space.strides[0][axis];
                rest /= space.sizes[axis];
            }
            found.push(place);
        }
        let expected = (0..3).flat_map(|a| (0..4).flat_map(move |_| [2 * a, 2 * a + 1]));
        assert!(found.into_iter().eq(expected));
    }
}
