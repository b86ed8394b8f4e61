//! Folds over the windows of x: [N, C, spatial...], one row of results at a time.
//!
//! For every tap of the kernel, the row of results accumulates one run of a row of x: the loop over the last axis has
//! no test for the border, and with stride 1 it is vector code.

use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_base::shape::{for_each_index, strides};
use sinter_ops::pool::PoolWindow;
use sinter_ops::window::Axis;
use smallvec::smallvec;

use crate::launch::{Scratch, ScratchBuffer, Workers};
use crate::share::{Cost, share};
use crate::window::{Reach, Slide, Slides};

/// The windows for concrete sizes.
pub struct Windows<'r> {
    /// Spatial axes, at least one.
    slides: Slides,
    /// The reach of each tap of the last axis.
    reaches: ScratchBuffer<'r, Reach>,
    /// Distances between the elements of x along the spatial axes.
    strides: Sizes,
    /// Per axis and output, elements of a window that lie inside x: one axis after the other.
    inside: ScratchBuffer<'r, usize>,
    /// As many of elements that lie inside x or its padding.
    padded: ScratchBuffer<'r, usize>,
}

impl<'r> Windows<'r> {
    /// The windows that lead from sizes `x` to sizes `y`.
    ///
    /// # Errors
    /// When the window has another number of axes than the sizes.
    pub fn new(window: &PoolWindow, x: &[usize], y: &[usize], scratch: &'r Scratch) -> Result<Self, KernelError> {
        let spatial = window.kernel.len();
        if x.len() != spatial + 2 || y.len() != spatial + 2 {
            return Err(KernelError::Data(format!("windows of {spatial} axes over sizes {x:?}")));
        }
        if spatial == 0 {
            let slide = Slide::single();
            return Ok(Self {
                reaches: slide.reaches(scratch),
                slides: smallvec![slide],
                strides: Sizes::from_slice(&[1]),
                inside: scratch.filled(1, 1),
                padded: scratch.filled(1, 1),
            });
        }
        let strides = strides(&x[2..]);
        let outputs: usize = y[2..].iter().sum();
        let (mut inside, mut padded) = (scratch.allocate(outputs), scratch.allocate(outputs));
        let (mut slides, mut counted) = (Slides::new(), 0);
        for (index, &kernel) in window.kernel.iter().enumerate() {
            let (stride, dilation) = (window.strides[index], window.dilations[index]);
            let axis = Axis { stride, dilation, padding: &window.padding, index, ceil: window.ceil };
            let (input, output) = (x[index + 2], y[index + 2]);
            let (begin, end) = axis.pads(input, kernel);
            let signed = i64::try_from(input).unwrap_or(i64::MAX);
            // A negative pad at the end takes elements away.
            let bound = usize::try_from(signed.saturating_add(end.min(0))).unwrap_or(0);
            let slide = Slide { input: bound, ..Slide::new(&axis, input, output, kernel) };
            let limit = signed.saturating_add(begin).saturating_add(end);
            let places = inside[counted..].iter_mut().zip(&mut padded[counted..]).take(output);
            for (o, (inside, padded)) in places.enumerate() {
                *inside = (0..kernel).filter(|&tap| slide.source(o, tap).is_some()).count();
                *padded = (0..kernel).filter(|&tap| axis.padded_position(o, tap) < limit).count();
            }
            counted += output;
            slides.push(slide);
        }
        let reaches = slides.last().map_or_else(|| scratch.allocate(0), |last| last.reaches(scratch));
        Ok(Self { slides, reaches, strides, inside, padded })
    }

    /// The spatial axes.
    pub fn slides(&self) -> &[Slide] {
        &self.slides
    }

    /// Distances between the elements of x along the spatial axes.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Elements of the windows of one row of results: a factor for the row, and one per result.
    pub fn counts(&self, outer: &[usize], with_padding: bool) -> (usize, &[usize]) {
        let counts = if with_padding { &self.padded } else { &self.inside };
        let (mut factor, mut start) = (1, 0);
        for (o, slide) in outer.iter().zip(&self.slides) {
            factor *= counts[start + o];
            start += slide.output;
        }
        (factor, &counts[start..])
    }

    /// Folds every window, starting from `start`; `finish` is called on each row of results with its position on the
    /// outer spatial axes.
    pub fn fold<T: Copy + Send + Sync>(
        &self,
        x: &[T],
        y: &mut [T],
        workers: &dyn Workers,
        start: T,
        step: impl Fn(T, T) -> T + Sync,
        finish: impl Fn(&[usize], &mut [T]) + Sync,
    ) {
        let Some((last, outer)) = self.slides.split_last() else { return };
        let outer_sizes: Sizes = outer.iter().map(|s| s.output).collect();
        let outer_kernel: Sizes = outer.iter().map(|s| s.kernel).collect();
        let y_plane = outer_sizes.iter().product::<usize>() * last.output;
        if y_plane == 0 || y.is_empty() {
            return;
        }
        let x_plane = x.len() / (y.len() / y_plane);
        let taps = outer_kernel.iter().product::<usize>() * last.kernel;
        share(workers, y, y_plane, Cost::PerElement(taps), |first, planes| {
            for (i, plane) in planes.chunks_exact_mut(y_plane).enumerate() {
                let source = &x[(first + i) * x_plane..(first + i + 1) * x_plane];
                let mut rows = plane.chunks_exact_mut(last.output);
                for_each_index(&outer_sizes, |at| {
                    let Some(row) = rows.next() else { return };
                    row.fill(start);
                    for_each_index(&outer_kernel, |tap| {
                        if let Some(from) = self.row_of(at, tap) {
                            take_in(row, &source[from..], &self.reaches, last.stride, &step);
                        }
                    });
                    finish(at, row);
                });
            }
        });
    }

    /// Start of the row of x under a tap of the outer axes; `None` in the border.
    fn row_of(&self, at: &[usize], tap: &[usize]) -> Option<usize> {
        let mut from = 0;
        for (axis, slide) in self.slides[..self.slides.len() - 1].iter().enumerate() {
            from += slide.source(at[axis], tap[axis])? * self.strides[axis];
        }
        Some(from)
    }
}

#[inline(always)]
fn take_in<T: Copy>(row: &mut [T], source: &[T], reaches: &[Reach], stride: usize, step: &impl Fn(T, T) -> T) {
    for reach in reaches {
        let outputs = &mut row[reach.outputs()];
        if stride == 1 {
            outputs.iter_mut().zip(&source[reach.source..]).for_each(|(y, &v)| *y = step(*y, v));
        } else {
            let values = source[reach.source..].iter().step_by(stride);
            outputs.iter_mut().zip(values).for_each(|(y, &v)| *y = step(*y, v));
        }
    }
}
