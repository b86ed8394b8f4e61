//! `cpu.pool.with_indices`: largest element of each window and where it is.
//!
//! One window after the other: per axis the taps that lie inside are found once per launch, so the inner loop is one
//! comparison per element. Integers are compared as 64-bit integers.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{for_each_index, ravel, strides};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::pool::MaxPoolWithIndices;
use smallvec::SmallVec;

use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer, Workers};
use crate::only_operator;
use crate::pool::windows::Windows;
use crate::share::{Cost, share_both};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const WITH_INDICES: Row = Row {
    name: "cpu.pool.with_indices",
    roots: &[OpKind::MaxPoolWithIndices],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, MaxPoolWithIndices);
    Ok(Loaded::Kernel(Box::new(WithIndices { op: op.clone() })))
}

struct WithIndices {
    op: MaxPoolWithIndices,
}

impl Kernel for WithIndices {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let [largest, indices] = &mut *launch.outputs else {
            return Err(KernelError::Recipe(format!("{} results instead of 2", launch.outputs.len())));
        };
        let (y, indices) = (largest.view(), indices.view());
        let windows = Windows::new(&self.op.window, x.sizes(), y.sizes(), scratch)?;
        let mut search = Search::new(&windows, x.sizes(), scratch);
        if self.op.column_major {
            search.report_columns(x.sizes());
        }
        let indices = indices.elements::<i64>();
        if x.data_type() == DataType::F32 {
            let y = y.elements::<f32>();
            search.run(x.elements::<f32>(), y, indices, f32::NEG_INFINITY, workers);
            return Ok(());
        }
        let numbers = match load(x, scratch) {
            Numbers::Floats(values) => {
                let mut found = scratch.allocate(y.count());
                search.run(&values, &mut found, indices, f64::NEG_INFINITY, workers);
                Numbers::Floats(found)
            }
            Numbers::Ints(mut values) => {
                // Flipping the top bit makes the order of unsigned numbers that of signed ones.
                let flip = if x.data_type() == DataType::U64 { i64::MIN } else { 0 };
                let low = x.data_type().integer_range().map_or(0, |(low, _)| low as i64);
                values.iter_mut().for_each(|v| *v ^= flip);
                let mut found = scratch.allocate(y.count());
                search.run(&values, &mut found, indices, low ^ flip, workers);
                found.iter_mut().for_each(|v| *v ^= flip);
                Numbers::Ints(found)
            }
        };
        store(&numbers, y);
        Ok(())
    }
}

/// The positions of every window inside one channel.
struct Search<'r> {
    /// Per axis, output and element of the window inside x: its offset along that axis. As many places for each output
    /// as the axis has taps.
    places: ScratchBuffer<'r, usize>,
    /// Per axis and output, how many of its places are taken.
    taken: ScratchBuffer<'r, usize>,
    kernel: Sizes,
    outputs: Sizes,
    plane: usize,
    /// Distances by which positions are reported.
    reported: Sizes,
    sizes: Sizes,
}

impl<'r> Search<'r> {
    fn new(windows: &Windows<'_>, x: &[usize], scratch: &'r Scratch) -> Self {
        let slides = windows.slides();
        let mut places = scratch.allocate(slides.iter().map(|s| s.output * s.kernel).sum());
        let mut taken = scratch.allocate(slides.iter().map(|s| s.output).sum());
        let (mut rest, mut counts) = (&mut *places, taken.iter_mut());
        for (slide, &stride) in slides.iter().zip(windows.strides()) {
            for (output, count) in (0..slide.output).zip(&mut counts) {
                let (own, later) = std::mem::take(&mut rest).split_at_mut(slide.kernel);
                let offsets = (0..slide.kernel).filter_map(|tap| Some(slide.source(output, tap)? * stride));
                *count = own.iter_mut().zip(offsets).map(|(place, offset)| *place = offset).count();
                rest = later;
            }
        }
        Self {
            places,
            taken,
            kernel: slides.iter().map(|s| s.kernel).collect(),
            outputs: slides.iter().map(|s| s.output).collect(),
            plane: x[2..].iter().product(),
            reported: Sizes::new(),
            sizes: Sizes::from_slice(&x[2..]),
        }
    }

    /// Positions are reported with the first axis running fastest.
    fn report_columns(&mut self, x: &[usize]) {
        let mut backwards: Sizes = x[2..].iter().rev().copied().collect();
        backwards = strides(&backwards);
        self.reported = backwards.into_iter().rev().collect();
    }

    /// The position to report for one inside a channel.
    fn report(&self, position: usize) -> usize {
        if self.reported.is_empty() {
            return position;
        }
        ravel(&sinter_base::shape::unravel(position, &self.sizes), &self.reported)
    }

    fn run<T: Copy + PartialOrd + Send + Sync>(
        &self,
        x: &[T],
        y: &mut [T],
        indices: &mut [i64],
        lowest: T,
        workers: &dyn Workers,
    ) {
        let outputs: usize = self.outputs.iter().product();
        let work = self.kernel.iter().product();
        share_both(workers, (y, indices), (outputs, outputs), Cost::PerElement(work), |plane, y, indices| {
            let channel = plane * self.plane;
            let source = &x[channel..channel + self.plane];
            let mut results = y.iter_mut().zip(indices);
            for_each_index(&self.outputs, |at| {
                let Some((y, index)) = results.next() else { return };
                let best = self.largest(source, at);
                *y = best.map_or(lowest, |(_, value)| value);
                *index = best.map_or(-1, |(position, _)| (channel + self.report(position)) as i64);
            });
        });
    }

    /// Position and value of the first largest element of a window, or of its first NaN.
    #[inline]
    fn largest<T: Copy + PartialOrd>(&self, source: &[T], at: &[usize]) -> Option<(usize, T)> {
        let (mut place, mut output) = (0, 0);
        let mut offsets: SmallVec<[&[usize]; 6]> = SmallVec::new();
        for ((&at, &outputs), &kernel) in at.iter().zip(&self.outputs).zip(&self.kernel) {
            offsets.push(&self.places[place + at * kernel..][..self.taken[output + at]]);
            (place, output) = (place + outputs * kernel, output + outputs);
        }
        let (last, outer) = offsets.split_last()?;
        let counts: Sizes = outer.iter().map(|axis| axis.len()).collect();
        let mut best: Option<(usize, T)> = None;
        for_each_index(&counts, |pick| {
            let row: usize = outer.iter().zip(pick).map(|(axis, &p)| axis[p]).sum();
            for &step in *last {
                let value = source[row + step];
                let better = |b: T| is_number(b) && (value > b || !is_number(value));
                if best.is_none_or(|(_, b)| better(b)) {
                    best = Some((row + step, value));
                }
            }
        });
        best
    }
}

#[inline(always)]
fn is_number<T: PartialOrd>(value: T) -> bool {
    value.partial_cmp(&value).is_some()
}
