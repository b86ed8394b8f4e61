//! `cpu.index.gather`, `cpu.index.gather_elements`, `cpu.index.gather_nd`: picks elements and slices by index.
//!
//! The kernel first checks indices and converts them to positions, so that the copies need no decisions: whole runs of
//! everything behind the indexed axes, or single elements of the operand's width.

use bytemuck::Pod;
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes, View};
use sinter_ops::OpKind;

use crate::arguments::{Lines, axis_in, integers, result};
use crate::index::positions::{element_positions, slice_starts, wrapped};
use crate::launch::{Kernel, Launch, Loaded, Workers};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{by_width, only_operator, refuse_data};

/// Slices along one axis.
pub const GATHER: Row = Row {
    name: "cpu.index.gather",
    roots: &[OpKind::Gather],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: gather,
};

/// Single elements along one axis.
pub const GATHER_ELEMENTS: Row = Row {
    name: "cpu.index.gather_elements",
    roots: &[OpKind::GatherElements],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: gather_elements,
};

/// Slices named by index vectors.
pub const GATHER_ND: Row = Row {
    name: "cpu.index.gather_nd",
    roots: &[OpKind::GatherNd],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: gather_nd,
};

fn gather(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Gather);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(Gather { axis: op.axis })))
}

fn gather_elements(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, GatherElements);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(GatherElements { axis: op.axis })))
}

fn gather_nd(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, GatherNd);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(GatherNd { batch_axes: op.batch_dims })))
}

/// `y[i] = x[start of i]` for runs of `run` elements of `width` bytes; `start` tells positions in runs.
fn copy_runs(
    workers: &dyn Workers,
    (source, target): (&[u8], &mut [u8]),
    run: usize,
    width: usize,
    start: impl Fn(usize) -> usize + Sync,
) {
    if target.is_empty() {
        return;
    }
    if run == 1 {
        by_width!(width, T => {
            let (source, target) = (bytemuck::cast_slice::<u8, T>(source), bytemuck::cast_slice_mut::<u8, T>(target));
            copy_elements(workers, source, target, start);
        });
        return;
    }
    let (bytes, work) = (run * width, target.len() / width);
    share(workers, target, bytes, Cost::InAll(work), |from, chunk| {
        for (at, part) in chunk.chunks_exact_mut(bytes).enumerate() {
            let from = start(from + at) * width;
            part.copy_from_slice(&source[from..from + bytes]);
        }
    });
}

fn copy_elements<T: Pod + Send + Sync>(
    workers: &dyn Workers,
    source: &[T],
    target: &mut [T],
    start: impl Fn(usize) -> usize + Sync,
) {
    share(workers, target, 1, Cost::PerElement(1), |from, chunk| {
        for (at, element) in chunk.iter_mut().enumerate() {
            *element = source[start(from + at)];
        }
    });
}

struct Gather {
    axis: i64,
}

impl Kernel for Gather {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, indices) = (launch.input(0)?, launch.input(1)?);
        let axis = axis_in(self.axis, x.sizes().len())?;
        // The common types are read where they lie.
        match indices.data_type() {
            DataType::I64 => gather_along(launch, x, indices, axis, indices.elements::<i64>()),
            DataType::I32 => gather_along(launch, x, indices, axis, indices.elements::<i32>()),
            _ => {
                let picked = integers(indices, launch.scratch)?;
                gather_along(launch, x, indices, axis, &picked)
            }
        }
    }
}

/// Slices along one axis; `picked` are their indices.
fn gather_along<I: Copy + Into<i64> + Sync>(
    launch: &mut Launch<'_, '_>,
    x: View<'_>,
    indices: View<'_>,
    axis: usize,
    picked: &[I],
) -> Result<(), KernelError> {
    let Lines { length, inner, .. } = Lines::along(x.sizes(), axis);
    for &index in picked {
        let index = index.into();
        if wrapped(index, length).is_none() {
            refuse_data!("index {index} lies outside axis {axis} of {length} elements");
        }
    }
    let sizes = x.sizes()[..axis].iter().chain(indices.sizes()).chain(&x.sizes()[axis + 1..]);
    let sizes: Sizes = sizes.copied().collect();
    let workers = launch.workers;
    let mut y = result(&mut launch.outputs[0], &sizes)?;
    // All indices were found inside above.
    let place = |index: I| wrapped(index.into(), length).unwrap_or(0);
    let start = |run: usize| (run / picked.len() * length + place(picked[run % picked.len()])) * inner;
    copy_runs(workers, (x.bytes(), y.bytes()), inner, element_bytes(x.data_type()), start);
    Ok(())
}

struct GatherElements {
    axis: i64,
}

impl Kernel for GatherElements {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, indices) = (launch.input(0)?, launch.input(1)?);
        let axis = axis_in(self.axis, x.sizes().len())?;
        let positions = element_positions(x.sizes(), indices, axis, launch.scratch)?;
        let workers = launch.workers;
        let mut y = result(&mut launch.outputs[0], indices.sizes())?;
        copy_runs(workers, (x.bytes(), y.bytes()), 1, element_bytes(x.data_type()), |at| positions[at]);
        Ok(())
    }
}

struct GatherNd {
    batch_axes: usize,
}

impl Kernel for GatherNd {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, indices) = (launch.input(0)?, launch.input(1)?);
        let slices = slice_starts(x.sizes(), indices, self.batch_axes, launch.scratch)?;
        let vectors = &indices.sizes()[..indices.sizes().len() - 1];
        let sizes: Sizes = vectors.iter().chain(slices.sizes).copied().collect();
        let run = slices.sizes.iter().product();
        let workers = launch.workers;
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        let width = element_bytes(x.data_type());
        copy_runs(workers, (x.bytes(), y.bytes()), run, width, |at| slices.starts[at]);
        Ok(())
    }
}
