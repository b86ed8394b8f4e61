//! Offsets of buffers in one block of memory: buffers that are live at the same time do not overlap.
//!
//! The algorithm places the largest buffer first, each at the lowest offset where it overlaps no buffer that is live at the
//! same time. This greedy order by size stays close to the bound that liveness sets (Pisarchyk and Lee 2020, "Efficient
//! Memory Management for Deep Neural Net Inference").

use std::cmp::Reverse;

use sinter_base::view::ALIGNMENT;

/// From the first step that touches a buffer to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Life {
    /// The life of a buffer that no step touches; the neutral element of [`Life::and`].
    pub(crate) const NONE: Self = Self { first: usize::MAX, last: 0 };
    /// The whole run.
    pub(crate) const WHOLE: Self = Self { first: 0, last: usize::MAX };

    /// The shortest life that contains both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The state of a placement. It keeps its lists, so that solving again allocates nothing.
#[derive(Default)]
pub(crate) struct Placement {
    /// Space of each buffer.
    bytes: Vec<usize>,
    /// Offset of each buffer.
    offsets: Vec<usize>,
    /// Buffers that need space, the largest first.
    by_size: Vec<usize>,
    /// Buffers that have an offset, by offset.
    placed: Vec<usize>,
}

impl Placement {
    /// Begins with so many empty buffers.
    pub(crate) fn begin(&mut self, buffers: usize) {
        for list in [&mut self.bytes, &mut self.offsets] {
            list.clear();
            list.resize(buffers, 0);
        }
    }

    /// Makes the space of a buffer at least this many bytes.
    pub(crate) fn require(&mut self, buffer: usize, bytes: usize) {
        if let Some(known) = self.bytes.get_mut(buffer) {
            *known = bytes.max(*known);
        }
    }

    /// Gives each buffer of one block its offset, by the lives of all, and returns the bytes of the block; `None` when they
    /// overflow.
    pub(crate) fn solve(&mut self, lives: &[Life], is_in_block: impl Fn(usize) -> bool) -> Option<usize> {
        let Self { bytes, offsets, by_size, placed } = self;
        by_size.clear();
        for (buffer, space) in bytes.iter_mut().enumerate().take(lives.len()).filter(|(buffer, _)| is_in_block(*buffer))
        {
            *space = space.checked_next_multiple_of(ALIGNMENT)?;
            if *space > 0 {
                by_size.push(buffer);
            }
        }
        by_size.sort_unstable_by_key(|&buffer| (Reverse(bytes.get(buffer)), buffer));
        placed.clear();
        let mut total = 0usize;
        for &buffer in by_size.iter() {
            let (space, life) = (*bytes.get(buffer)?, *lives.get(buffer)?);
            let mut offset = 0usize;
            for other in placed.iter() {
                let (start, taken) = (*offsets.get(*other)?, *bytes.get(*other)?);
                if !lives.get(*other)?.overlaps(life) {
                    continue;
                }
                if offset.checked_add(space)? <= start {
                    break;
                }
                offset = offset.max(start.checked_add(taken)?);
            }
            *offsets.get_mut(buffer)? = offset;
            total = total.max(offset.checked_add(space)?);
            let at = placed.partition_point(|other| offsets.get(*other).is_some_and(|start| *start <= offset));
            placed.insert(at, buffer);
        }
        Some(total)
    }

    /// The most bytes that are live at one time.
    pub(crate) fn liveness(&self, lives: &[Life]) -> Option<usize> {
        let aligned = |bytes: &usize| bytes.checked_next_multiple_of(ALIGNMENT);
        let at = |time: usize| {
            let living = self.bytes.iter().zip(lives).filter(|(_, life)| life.first <= time && time <= life.last);
            living.map(|(bytes, _)| aligned(bytes)).try_fold(0usize, |sum, bytes| sum.checked_add(bytes?))
        };
        lives
            .iter()
            .filter(|life| **life != Life::NONE)
            .map(|life| at(life.first))
            .try_fold(0, |most, sum| Some(sum?.max(most)))
    }

    /// The offset of a buffer.
    pub(crate) fn offset(&self, buffer: usize) -> usize {
        self.offsets.get(buffer).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use sinter_testkit::Random;

    use super::*;

    fn solved(buffers: &[(usize, usize, usize)]) -> (Placement, usize) {
        let lives: Vec<Life> = buffers.iter().map(|(_, first, last)| Life { first: *first, last: *last }).collect();
        let mut placement = Placement::default();
        placement.begin(buffers.len());
        for (buffer, (bytes, ..)) in buffers.iter().enumerate() {
            placement.require(buffer, *bytes);
        }
        let total = placement.solve(&lives, |_| true).expect("a small block");
        (placement, total)
    }

    #[test]
    fn memory_of_the_dead_is_used_again() {
        // A chain: each buffer is live until a step makes the next one.
        let (placement, total) = solved(&[(640, 0, 1), (64, 1, 2), (640, 2, 3), (128, 3, 3)]);
        assert_eq!(total, 640 + 128);
        assert_eq!((placement.offset(0), placement.offset(2)), (0, 0));
    }

    #[test]
    fn gaps_are_filled() {
        let (placement, total) = solved(&[(256, 0, 9), (128, 0, 4), (128, 5, 9), (64, 5, 5), (64, 4, 5)]);
        assert_eq!(total, 256 + 128 + 128);
        assert_ne!(placement.offset(3), placement.offset(4));
    }

    /// Random buffers never overlap in both space and time, and the block is close to the most bytes that are live at one time.
    #[test]
    fn what_lives_together_lies_apart() {
        let mut random = Random(5);
        let mut draw = |bound: usize| random.below(bound);
        for _ in 0..200 {
            let buffers: Vec<(usize, usize, usize)> = (0..1 + draw(60))
                .map(|_| {
                    let first = draw(50);
                    (draw(5000), first, first + draw(8))
                })
                .collect();
            let (placement, total) = solved(&buffers);
            let range = |b: usize| placement.offset(b)..placement.offset(b) + buffers[b].0;
            for a in 0..buffers.len() {
                assert!(placement.offset(a) % ALIGNMENT == 0 && range(a).end <= total.max(range(a).start));
                for b in 0..a {
                    let ((_, first, last), (_, other_first, other_last)) = (buffers[a], buffers[b]);
                    let together = first <= other_last && other_first <= last;
                    let (x, y) = (range(a), range(b));
                    assert!(!together || x.start >= y.end || y.start >= x.end, "{:?} {:?}", buffers[a], buffers[b]);
                }
            }
            let alive = |at: usize| -> usize {
                let living = buffers.iter().filter(|(_, first, last)| (*first..=*last).contains(&at));
                living.map(|(bytes, ..)| bytes.next_multiple_of(ALIGNMENT)).sum()
            };
            let bound = (0..60).map(alive).max().unwrap_or(0);
            assert!(total >= bound && total <= bound + bound / 2, "{total} for a bound of {bound}");
        }
    }
}
