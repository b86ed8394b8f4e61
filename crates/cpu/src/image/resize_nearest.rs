//! Resizing by the nearest element: bytes move, nothing is computed.
//!
//! `cpu.image.resize_nearest` finds the source of every index of every axis once, then copies: whole runs where inner
//! axes stay as they are, single elements along the innermost resized axis otherwise.
//! `cpu.image.resize_nearest.strings` does the same for strings.

use bytemuck::Pod;
use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region, ValueKernel, Workers};
use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes, Tensor, Value};
use sinter_ops::image::{Coordinates, Interpolation, Resize};

use crate::image::resize::wanted;
use crate::image::resize_plan::{ResizePlan, Wanted};
use crate::only_operator;
use crate::share::share;
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// Elements of fixed size.
pub const NEAREST: Row = Row {
    name: "cpu.image.resize_nearest",
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: nearest,
};

/// Strings.
pub const STRINGS: Row = Row {
    name: "cpu.image.resize_nearest.strings",
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: strings,
};

fn nearest(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Resize);
    if !matches!(op.interpolation, Interpolation::Nearest { .. }) || op.coordinates == Coordinates::Crop {
        return Err(Refusal::new("elements that are summed or lie outside"));
    }
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::String) | None => Err(Refusal::new("strings are not bytes of a fixed number")),
        Some(_) => Ok(Loaded::Views(Box::new(Nearest { op: op.clone() }))),
    }
}

fn strings(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Resize);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::String) => Ok(Loaded::Values(Box::new(Strings { op: op.clone() }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of strings"))),
    }
}

/// The one element that every index of every axis of the result reads.
fn sources(plan: &ResizePlan, x: &[usize]) -> Result<Vec<Vec<usize>>, KernelError> {
    let mut sources: Vec<Vec<usize>> = x.iter().map(|&size| (0..size).collect()).collect();
    for resized in &plan.axes {
        let nearest = resized.taps.iter().map(|taps| taps.as_ref().and_then(|t| t.first()).map(|t| t.0));
        let nearest: Option<Vec<usize>> = nearest.collect();
        let outside = || KernelError::Data("a crop leaves the input".to_owned());
        sources[resized.axis] = nearest.ok_or_else(outside)?;
    }
    Ok(sources)
}

struct Nearest {
    op: Resize,
}

impl Kernel for Nearest {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let plan = ResizePlan::new(&self.op, x.sizes(), &wanted(launch))?;
        let workers = launch.workers;
        let mut y = placed(&mut launch.outputs[0], &plan.sizes)?;
        if y.count() == 0 {
            return Ok(());
        }
        let places = Places::new(&plan, x.sizes())?;
        let (source, target) = (x.bytes(), y.bytes());
        macro_rules! move_as {
            ($t:ty) => {
                places.copy::<$t>(bytemuck::cast_slice(source), bytemuck::cast_slice_mut(target), workers)
            };
        }
        match element_bytes(x.data_type()) {
            8 => move_as!(u64),
            4 => move_as!(u32),
            2 => move_as!(u16),
            _ => move_as!(u8),
        }
        Ok(())
    }
}

/// Where elements come from.
struct Places {
    /// Offsets in x, per axis down to the innermost resized one.
    outer: Vec<Vec<usize>>,
    /// Offsets along the innermost resized axis.
    last: Vec<usize>,
    /// Elements inside of it, which stay together.
    run: usize,
}

impl Places {
    fn new(plan: &ResizePlan, x: &[usize]) -> Result<Self, KernelError> {
        let strides = strides(x);
        let offsets = sources(plan, x)?.into_iter().zip(&strides);
        let mut outer: Vec<Vec<usize>> =
            offsets.map(|(axis, stride)| axis.into_iter().map(|i| i * stride).collect()).collect();
        let depth = plan.axes.iter().map(|resized| resized.axis + 1).max().unwrap_or(0);
        outer.truncate(depth);
        let last = outer.pop().unwrap_or_else(|| vec![0]);
        Ok(Self { outer, last, run: x[depth..].iter().product() })
    }

    fn copy<T: Pod + Send + Sync>(&self, x: &[T], y: &mut [T], workers: &dyn Workers) {
        let sizes: Sizes = self.outer.iter().map(Vec::len).collect();
        let unit = self.last.len() * self.run;
        share(workers, y, unit, 1, |first, piece| {
            for (i, row) in piece.chunks_exact_mut(unit).enumerate() {
                let at = unravel(first + i, &sizes);
                let from: usize = at.iter().zip(&self.outer).map(|(&i, axis)| axis[i]).sum();
                let source = &x[from..];
                if self.run == 1 {
                    row.iter_mut().zip(&self.last).for_each(|(y, &offset)| *y = source[offset]);
                } else {
                    for (part, &offset) in row.chunks_exact_mut(self.run).zip(&self.last) {
                        part.copy_from_slice(&source[offset..offset + self.run]);
                    }
                }
            }
        });
    }
}

struct Strings {
    op: Resize,
}

impl ValueKernel for Strings {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let tensor = |index: usize| inputs.get(index).and_then(Option::as_ref).and_then(Value::as_tensor);
        let x = tensor(0).ok_or_else(|| KernelError::Data("operand 0 is no tensor".to_owned()))?;
        let list = |index: usize| tensor(index).map(Tensor::to_floats).unwrap_or_default();
        let wanted =
            Wanted { region: list(1), scales: list(2), sizes: tensor(3).map(Tensor::to_i64).unwrap_or_default() };
        let plan = ResizePlan::new(&self.op, x.sizes(), &wanted)?;
        let strides = strides(x.sizes());
        let sources = if plan.sizes.contains(&0) { Vec::new() } else { sources(&plan, x.sizes())? };
        let place = |flat: usize| {
            let at = unravel(flat, &plan.sizes);
            let index: Sizes = at.iter().zip(&sources).map(|(&i, axis)| axis[i]).collect();
            Some(ravel(&index, &strides))
        };
        let y = x.rearranged(&plan.sizes, place).map_err(|e| KernelError::Data(e.to_string()))?;
        Ok(vec![y.into()])
    }
}
