//! Adds rows of numbers into an image at the places where the taps of a kernel fall.
//!
//! The transpose of reading windows: position i of a window and tap k meet the image at `i s + k d - p`. Transposed
//! convolution and `col2im` use it.

use sinter_base::Sizes;
use sinter_base::shape::{for_each_index, strides};
use smallvec::smallvec;

use crate::number::Number;
use crate::window::{Slide, Slides};

/// Windows over an image; the numbers come from the positions of the windows.
pub struct Scatter {
    /// Per spatial axis: `input` is the image, `output` the positions.
    slides: Slides,
    /// Distances in the image.
    strides: Sizes,
    /// Positions of all axes but the last.
    outer: Sizes,
    /// Taps of all axes.
    kernel: Sizes,
}

impl Scatter {
    /// The windows of these axes, at least one.
    pub fn new(slides: Slides) -> Self {
        let slides = if slides.is_empty() { smallvec![Slide::single()] } else { slides };
        let image: Sizes = slides.iter().map(|s| s.input).collect();
        let outer = slides[..slides.len() - 1].iter().map(|s| s.output).collect();
        Self { strides: strides(&image), outer, kernel: slides.iter().map(|s| s.kernel).collect(), slides }
    }

    /// Sizes of the kernel.
    pub fn kernel(&self) -> &[usize] {
        &self.kernel
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.slides.iter().map(|s| s.output).product()
    }

    /// Adds the numbers of one tap, one per position, to the image.
    pub fn add<T: Number>(&self, tap: &[usize], numbers: &[T], image: &mut [T]) {
        let Some((last, outer)) = self.slides.split_last() else { return };
        let reach = last.reach(tap[outer.len()]);
        if reach.count == 0 {
            return;
        }
        let mut rows = numbers.chunks_exact(last.output);
        for_each_index(&self.outer, |at| {
            let Some(row) = rows.next() else { return };
            let from = outer.iter().enumerate().try_fold(0, |from, (axis, slide)| {
                Some(from + slide.source(at[axis], tap[axis])? * self.strides[axis])
            });
            let Some(from) = from else { return };
            let (row, target) = (&row[reach.outputs()], &mut image[from + reach.source..]);
            if last.stride == 1 {
                target.iter_mut().zip(row).for_each(|(y, &v)| *y += v);
            } else {
                target.iter_mut().step_by(last.stride).zip(row).for_each(|(y, &v)| *y += v);
            }
        });
    }
}
