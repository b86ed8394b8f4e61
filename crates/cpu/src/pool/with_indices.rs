//! `cpu.pool.with_indices`: largest element of each window and where it is.
//!
//! One window after the other: per axis the taps that lie inside are found once per launch, so the inner loop is one
//! comparison per element. Integers are compared as 64-bit integers.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region, Workers};
use sinter_base::shape::{for_each_index, ravel, strides};
use sinter_base::{DataType, Sizes};
use sinter_ops::pool::MaxPoolWithIndices;

use crate::elements::{Numbers, load, store};
use crate::only_operator;
use crate::pool::windows::Windows;
use crate::share::share_both;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const WITH_INDICES: Row =
    Row { name: "cpu.pool.with_indices", numerics: Numerics::Exact, in_place: &[], speed: Speed::SCALAR, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, MaxPoolWithIndices);
    Ok(Loaded::Views(Box::new(WithIndices { op: op.clone() })))
}

struct WithIndices {
    op: MaxPoolWithIndices,
}

impl Kernel for WithIndices {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let workers = launch.workers;
        let [largest, indices] = &mut *launch.outputs else {
            return Err(KernelError::Recipe(format!("{} results instead of 2", launch.outputs.len())));
        };
        let (y, indices) = (largest.view(), indices.view());
        let windows = Windows::new(&self.op.window, x.sizes(), y.sizes())?;
        let mut search = Search::new(&windows, x.sizes());
        if self.op.column_major {
            search.report_columns(x.sizes());
        }
        let indices = indices.elements::<i64>();
        if x.data_type() == DataType::F32 {
            let y = y.elements::<f32>();
            search.run(x.elements::<f32>(), y, indices, f32::NEG_INFINITY, workers);
            return Ok(());
        }
        let numbers = match load(x) {
            Numbers::Floats(values) => {
                let mut found = vec![0.0; y.count()];
                search.run(&values, &mut found, indices, f64::NEG_INFINITY, workers);
                Numbers::Floats(found)
            }
            Numbers::Ints(mut values) => {
                // Flipping the top bit makes the order of unsigned numbers that of signed ones.
                let flip = if x.data_type() == DataType::U64 { i64::MIN } else { 0 };
                let low = x.data_type().integer_range().map_or(0, |(low, _)| low as i64);
                values.iter_mut().for_each(|v| *v ^= flip);
                let mut found = vec![0; y.count()];
                search.run(&values, &mut found, indices, low ^ flip, workers);
                found.iter_mut().for_each(|v| *v ^= flip);
                Numbers::Ints(found)
            }
        };
        store(&numbers, y);
        Ok(())
    }
}

/// What every window looks at, in positions inside one channel.
struct Search {
    /// Per axis and output: offsets of the elements of the window along that axis.
    places: Vec<Vec<Vec<usize>>>,
    outputs: Sizes,
    plane: usize,
    /// Distances by which positions are reported.
    reported: Sizes,
    sizes: Sizes,
}

impl Search {
    fn new(windows: &Windows, x: &[usize]) -> Self {
        let slides = windows.slides();
        let places = slides.iter().zip(windows.strides()).map(|(slide, &stride)| {
            let along =
                |output| (0..slide.kernel).filter_map(|tap| Some(slide.source(output, tap)? * stride)).collect();
            (0..slide.output).map(along).collect()
        });
        Self {
            places: places.collect(),
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
        let work = self.places.iter().map(|axis| axis.first().map_or(1, Vec::len)).product();
        share_both(workers, (y, indices), (outputs, outputs), work, |first, y, indices| {
            let planes = y.chunks_exact_mut(outputs).zip(indices.chunks_exact_mut(outputs));
            for (i, (y, indices)) in planes.enumerate() {
                let channel = (first + i) * self.plane;
                let source = &x[channel..channel + self.plane];
                let mut results = y.iter_mut().zip(indices);
                for_each_index(&self.outputs, |at| {
                    let Some((y, index)) = results.next() else { return };
                    let best = self.largest(source, at);
                    *y = best.map_or(lowest, |(_, value)| value);
                    *index = best.map_or(-1, |(position, _)| (channel + self.report(position)) as i64);
                });
            }
        });
    }

    /// Position and value of the first largest element of a window, or of its first NaN.
    #[inline]
    fn largest<T: Copy + PartialOrd>(&self, source: &[T], at: &[usize]) -> Option<(usize, T)> {
        let (last, outer) = self.places.split_last()?;
        let (last, outer_at) = (&last[at[outer.len()]], &at[..outer.len()]);
        let counts: Sizes = outer.iter().zip(outer_at).map(|(axis, &o)| axis[o].len()).collect();
        let mut best: Option<(usize, T)> = None;
        for_each_index(&counts, |pick| {
            let row: usize = outer.iter().zip(outer_at).zip(pick).map(|((axis, &o), &p)| axis[o][p]).sum();
            for &step in last {
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
