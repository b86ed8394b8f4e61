//! Sliding windows of concrete sizes: the input elements under each tap of the kernel along each axis.
//!
//! The inner loops of pooling and convolution run along the last axis. There a tap of the kernel lies inside the input
//! for one run of outputs, computed once per launch, so that the loops need no test for the border.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use sinter_ops::window::Axis;
use smallvec::SmallVec;

use crate::launch::{Scratch, ScratchBuffer};

/// One axis.
#[derive(Clone, Debug)]
pub struct Slide {
    /// Input positions that may be read: `0..input`.
    pub input: usize,
    /// Number of windows.
    pub output: usize,
    /// Elements of a window.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Distance between the elements of a window.
    pub dilation: usize,
    /// Position of the first input element, counted from the first element of the first window.
    pub begin: i64,
}

/// The outputs for which one tap lies inside the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Reach {
    /// The first of them.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// Input position of the first of them; the others follow at the distance of the stride.
    pub source: usize,
}

impl Reach {
    /// The outputs.
    pub fn outputs(&self) -> Range<usize> {
        self.first..self.first + self.count
    }
}

/// The axes of a window; few enough to need no memory of their own.
pub type Slides = SmallVec<[Slide; 6]>;

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Slide {
    /// The windows of an axis for concrete sizes.
    pub fn new(axis: &Axis<'_>, input: usize, output: usize, kernel: usize) -> Self {
        let begin = axis.begin(input, kernel);
        Self { input, output, kernel, stride: axis.stride.max(1), dilation: axis.dilation, begin }
    }

    /// One window that is one element.
    pub fn single() -> Self {
        Self { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0 }
    }

    /// Distance from an output's first window element, at `output * stride`, to the input element under the tap.
    fn offset(&self, tap: usize) -> i64 {
        signed(tap.saturating_mul(self.dilation)).saturating_sub(self.begin)
    }

    /// Input position under a tap; `None` in the border.
    pub fn source(&self, output: usize, tap: usize) -> Option<usize> {
        let at = signed(output.saturating_mul(self.stride)).saturating_add(self.offset(tap));
        usize::try_from(at).ok().filter(|&at| at < self.input)
    }

    /// The outputs for which a tap lies inside the input.
    pub fn reach(&self, tap: usize) -> Reach {
        let (offset, stride) = (self.offset(tap), signed(self.stride));
        // o stride + offset >= 0, and o stride + offset <= input - 1.
        let first = usize::try_from(offset.saturating_neg().max(0)).unwrap_or(usize::MAX).div_ceil(self.stride);
        let room = signed(self.input).saturating_sub(1).saturating_sub(offset);
        let end = if room < 0 { 0 } else { usize::try_from(room / stride).unwrap_or(usize::MAX).saturating_add(1) };
        let outputs = first.min(self.output)..end.min(self.output);
        if outputs.is_empty() {
            return Reach { first: 0, count: 0, source: 0 };
        }
        let source = self.source(outputs.start, tap).unwrap_or(0);
        Reach { first: outputs.start, count: outputs.len(), source }
    }

    /// The reach of every tap.
    pub fn reaches<'r>(&self, scratch: &'r Scratch) -> ScratchBuffer<'r, Reach> {
        scratch.list((0..self.kernel).map(|tap| self.reach(tap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_agree_with_single_positions() {
        for begin in -2..=3i64 {
            for (stride, dilation) in [(1, 1), (2, 1), (3, 2), (1, 4)] {
                let slide = Slide { input: 7, output: 6, kernel: 3, stride, dilation, begin };
                for tap in 0..3 {
                    let reach = slide.reach(tap);
                    for output in 0..6 {
                        let inside = reach.outputs().contains(&output);
                        let at = inside.then(|| reach.source + (output - reach.first) * stride);
                        assert_eq!(at, slide.source(output, tap), "{slide:?} tap {tap} output {output}");
                    }
                }
            }
        }
    }

    #[test]
    fn absurd_numbers_reach_nothing() {
        let slide = Slide { input: 3, output: 2, kernel: 2, stride: usize::MAX, dilation: usize::MAX, begin: i64::MIN };
        assert!(slide.reaches(&Scratch::default()).iter().all(|r| r.count == 0));
    }
}
