//! Groups of elements: axes of a contiguous tensor that distinguish groups, and axes that distinguish the members of one.

use sinter_backend::KernelError;
use sinter_ops::axes::axis_of;
use smallvec::SmallVec;

use crate::kernel::{Geometry, Launch, THREADS, recipe};
use crate::space::{Axes, RANK, words};

/// An axis: its size, the distance of neighbours, and whether it distinguishes members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupAxis {
    pub(crate) size: i64,
    pub(crate) stride: i64,
    pub(crate) is_member: bool,
}

/// `Groups` in `groups.cuh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Number of groups, and of the members of each.
    pub(crate) groups: i64,
    pub(crate) members: i64,
    group_axes: [Axes; 2],
    member_axes: [Axes; 2],
}

/// Words of a group's description.
pub(crate) const WORDS: usize = 4 + 4 * RANK;

/// Functions of every kernel on groups: one thread, one warp or one block works on a group.
pub(crate) const ENTRIES: &[&str] = &["by_thread", "by_warp", "by_block"];

/// The axes of a contiguous tensor, neighbours of one kind merged.
pub(crate) fn axes_of(sizes: &[usize], is_member: impl Fn(usize) -> bool) -> SmallVec<[GroupAxis; RANK]> {
    let mut axes: SmallVec<[GroupAxis; RANK]> = SmallVec::new();
    let mut stride = 1i64;
    for axis in (0..sizes.len()).rev() {
        let size = i64::try_from(sizes[axis]).unwrap_or(i64::MAX);
        let is_member = is_member(axis);
        match axes.last_mut() {
            _ if size == 1 => {}
            Some(inner) if inner.is_member == is_member => inner.size = inner.size.saturating_mul(size),
            _ => axes.push(GroupAxis { size, stride, is_member }),
        }
        stride = stride.saturating_mul(size);
    }
    axes.reverse();
    axes
}

impl Groups {
    /// The groups of these axes, outermost first; `None` where they are too many.
    pub(crate) fn of(axes: &[GroupAxis]) -> Option<Self> {
        let part = |is_member: bool| {
            let own = axes.iter().filter(|axis| axis.is_member == is_member);
            let (sizes, strides): (Axes, Axes) = own.map(|axis| (axis.size, axis.stride)).unzip();
            match sizes.len() {
                0 => Some([Axes::from_slice(&[1]), Axes::from_slice(&[0])]),
                1..=RANK => Some([sizes, strides]),
                _ => None,
            }
        };
        let (group_axes, member_axes) = (part(false)?, part(true)?);
        let count = |axes: &[Axes; 2]| axes[0].iter().product();
        Some(Self { groups: count(&group_axes), members: count(&member_axes), group_axes, member_axes })
    }

    /// The lines along one axis, which the operator names.
    ///
    /// # Errors
    /// When there is no such axis, or the others are too many.
    pub(crate) fn along(sizes: &[usize], axis: i64) -> Result<Self, KernelError> {
        let along = axis_of(axis, sizes.len()).map_err(|error| recipe(error.to_string()))?;
        Self::of(&axes_of(sizes, |axis| axis == along)).ok_or_else(|| recipe("too many axes"))
    }

    /// Are the members of a group consecutive along their innermost axis?
    fn is_consecutive(&self) -> bool {
        self.member_axes[1].last() == Some(&1) || self.members == 1
    }

    /// The function that suits these groups, and its geometry.
    pub(crate) fn team(&self, launch: &Launch<'_>) -> (usize, Geometry) {
        // Threads read consecutive elements where they share the group of consecutive members, or have a group each of
        // those that are not.
        let is_narrow = !self.is_consecutive() && self.groups >= 1024;
        let (entry, size) = match self.members {
            members if members < 16 || is_narrow && members < 4096 => (0, 1),
            members if members < 1024 => (1, 32),
            _ => (2, THREADS as usize),
        };
        (entry, launch.spread(usize::try_from(self.groups).unwrap_or(usize::MAX).saturating_mul(size)))
    }

    /// The words of the description.
    pub(crate) fn words(&self) -> [u64; WORDS] {
        let mut all = [0; WORDS];
        let rank = |axes: &[Axes; 2]| axes[0].len() as u64;
        let list = [self.groups.cast_unsigned(), self.members.cast_unsigned(), rank(&self.group_axes)];
        let list = list.into_iter().chain(words(&self.group_axes[0])).chain(words(&self.group_axes[1]));
        let list = list.chain([rank(&self.member_axes)]);
        let list = list.chain(words(&self.member_axes[0])).chain(words(&self.member_axes[1]));
        all.iter_mut().zip(list).for_each(|(word, value)| *word = value);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_kind_merge() {
        let axes = axes_of(&[2, 3, 1, 4, 5], |axis| axis == 1 || axis == 4);
        let list: Vec<_> = axes.iter().map(|axis| (axis.size, axis.stride, axis.is_member)).collect();
        assert_eq!(list, [(2, 60, false), (3, 20, true), (4, 5, false), (5, 1, true)]);
        let groups = Groups::of(&axes).expect("few axes");
        assert_eq!((groups.groups, groups.members), (8, 15));
        let words = groups.words();
        assert_eq!((words[2], words[3], words[4], words[3 + RANK], words[4 + RANK]), (2, 2, 4, 60, 5));
        assert_eq!((words[3 + 2 * RANK], words[4 + 2 * RANK], words[4 + 3 * RANK]), (2, 3, 20));
        let all = Groups::of(&axes_of(&[3, 4], |_| true)).expect("few axes");
        assert_eq!((all.groups, all.members), (1, 12));
        let none = Groups::of(&axes_of(&[0, 4], |axis| axis == 0)).expect("few axes");
        assert_eq!((none.groups, none.members), (4, 0));
    }
}
