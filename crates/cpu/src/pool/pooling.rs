//! `cpu.pool.rows`: largest element, average or norm of windows, or of all spatial elements.
//!
//! Windows are folded a row of results at a time (see [`crate::pool::windows`]); their element counts are products of
//! counts per axis. All spatial elements of a channel are one contiguous run, summed in lanes. Floats are computed in
//! f32 or f64, the largest of integers in 64-bit integers, other pools of integers in f64.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::pool::{Pool, PoolMode};

use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, ScratchBuffer, Workers};
use crate::number::{Formula, Inputs, Means, Number, evaluate, sum_of};
use crate::only_operator;
use crate::pool::windows::Windows;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const POOL: Row = Row {
    name: "cpu.pool.rows",
    roots: &[OpKind::Pool],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Pool);
    Ok(Loaded::Kernel(Box::new(PoolKernel { op: op.clone() })))
}

struct PoolKernel {
    op: Pool,
}

impl Kernel for PoolKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0);
        let windows = match &self.op.window {
            Some(window) => Some(Windows::new(window, x.sizes(), y.sizes(), scratch)?),
            None => None,
        };
        let sizes = Sizes::from_slice(x.sizes());
        let plane: usize = sizes.get(2..).unwrap_or_default().iter().product();
        if self.op.mode == PoolMode::Max
            && !x.data_type().is_float()
            && let Numbers::Ints(values) = load(x, scratch)
        {
            let mut largest = scratch.allocate(y.count());
            largest_integers((values, &mut largest), x.data_type(), windows.as_ref(), plane, workers);
            store(&Numbers::Ints(largest), y);
            return Ok(());
        }
        evaluate(&Pooling { mode: &self.op.mode, windows: windows.as_ref(), plane }, &[Some(x)], y, workers, scratch)
    }
}

/// The largest of integers: unsigned 64-bit ones are compared with their top bit flipped.
fn largest_integers(
    (mut x, y): (ScratchBuffer<'_, i64>, &mut [i64]),
    data_type: DataType,
    windows: Option<&Windows<'_>>,
    plane: usize,
    workers: &dyn Workers,
) {
    let flip = |values: &mut [i64]| {
        if data_type == DataType::U64 {
            values.iter_mut().for_each(|v| *v ^= i64::MIN);
        }
    };
    flip(&mut x);
    let lowest = match data_type {
        DataType::U64 => i64::MIN,
        other => other.integer_range().map_or(i64::MIN, |(low, _)| low as i64),
    };
    match windows {
        Some(windows) => windows.fold(&x, y, workers, lowest, i64::max, |_, _| {}),
        None => over_planes(&x, y, plane, workers, |values| values.iter().copied().fold(lowest, i64::max)),
    }
    flip(y);
}

/// `y[i] = reduce(plane i of x)`.
fn over_planes<T: Copy + Send + Sync>(
    x: &[T],
    y: &mut [T],
    plane: usize,
    workers: &dyn Workers,
    reduce: impl Fn(&[T]) -> T + Sync,
) {
    share(workers, y, 1, Cost::PerElement(plane), |first, chunk| {
        chunk.iter_mut().enumerate().for_each(|(i, y)| *y = reduce(&x[(first + i) * plane..(first + i + 1) * plane]));
    });
}

struct Pooling<'a> {
    mode: &'a PoolMode,
    windows: Option<&'a Windows<'a>>,
    plane: usize,
}

/// The larger one, NaN if there is one.
#[inline(always)]
fn larger<T: Number>(a: T, b: T) -> T {
    if b > a || b.partial_cmp(&b).is_none() { b } else { a }
}

impl Formula for Pooling<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let workers = means.workers;
        let x = inputs.given(0);
        let zero = T::default();
        let lowest = T::of(f64::NEG_INFINITY);
        let count = self.plane as f64;
        match (self.mode, self.windows) {
            (PoolMode::Max, Some(windows)) => windows.fold(x, y, workers, lowest, larger, |_, _| {}),
            (PoolMode::Max, None) => over_planes(x, y, self.plane, workers, largest),
            (PoolMode::Average { count_padding }, Some(windows)) => {
                windows.fold(
                    x,
                    y,
                    workers,
                    zero,
                    |sum, v| sum + v,
                    |outer, row| {
                        let (factor, counts) = windows.counts(outer, *count_padding);
                        for (y, &count) in row.iter_mut().zip(counts) {
                            *y = *y / T::of((factor * count) as f64);
                        }
                    },
                );
            }
            (PoolMode::Average { .. }, None) => {
                over_planes(x, y, self.plane, workers, |values| T::of(sum_of(values, |v| v) / count));
            }
            (PoolMode::Norm { order }, windows) => {
                let root = |sum: f64| T::of(if *order == 2.0 { sum.sqrt() } else { sum.powf(1.0 / order) });
                let power = |v: T| if *order == 2.0 { v * v } else { T::of(v.wide().abs().powf(*order)) };
                match windows {
                    Some(windows) => {
                        let finish = |_: &[usize], row: &mut [T]| row.iter_mut().for_each(|y| *y = root(y.wide()));
                        windows.fold(x, y, workers, zero, |sum, v| sum + power(v), finish);
                    }
                    None => over_planes(x, y, self.plane, workers, |values| root(sum_of(values, power))),
                }
            }
        }
        Ok(())
    }
}

/// The largest of a run, NaN if there is one, in independent lanes.
fn largest<T: Number>(x: &[T]) -> T {
    let mut lanes = [T::of(f64::NEG_INFINITY); 16];
    let chunks = x.chunks_exact(lanes.len());
    let rest = chunks.remainder().iter().copied().fold(lanes[0], larger);
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane = larger(*lane, v));
    }
    lanes.into_iter().fold(rest, larger)
}
