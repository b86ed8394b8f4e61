//! Resizing by the nearest element: moves bytes, computes nothing.
//!
//! `cpu.image.resize_nearest` finds the source of every index of every axis once, then copies: whole runs where inner
//! axes stay as they are, single elements along the innermost resized axis otherwise.
//! `cpu.image.resize_nearest.strings` does the same for strings.

use bytemuck::Pod;
use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes, Tensor, Value};
use sinter_ops::OpKind;
use sinter_ops::image::{Coordinates, Interpolation, Resize};

use crate::image::resize::plan_of;
use crate::image::resize_plan::{Requested, ResizePlan, Resized};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer, Workers};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// Elements of fixed size.
pub const NEAREST: Row = Row {
    name: "cpu.image.resize_nearest",
    roots: &[OpKind::Resize],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: nearest,
};

/// Strings.
pub const STRINGS: Row = Row {
    name: "cpu.image.resize_nearest.strings",
    roots: &[OpKind::Resize],
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
        Some(_) => Ok(Loaded::Kernel(Box::new(Nearest { op: op.clone() }))),
    }
}

fn strings(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Resize);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::String) => Ok(Loaded::Values(Box::new(Strings { op: op.clone() }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of strings"))),
    }
}

/// A crop that leaves the input has elements with nothing nearest to them.
fn check_inside(plan: &ResizePlan<'_>) -> Result<(), KernelError> {
    match plan.axes.iter().any(Resized::leaves) {
        true => Err(KernelError::Data("a crop leaves the input".to_owned())),
        false => Ok(()),
    }
}

struct Nearest {
    op: Resize,
}

impl Kernel for Nearest {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let plan = plan_of(&self.op, launch)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = placed(&mut launch.outputs[0], &plan.sizes)?;
        if y.count() == 0 {
            return Ok(());
        }
        let places = Places::new(&plan, x.sizes(), scratch)?;
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
struct Places<'r> {
    /// Sizes of the result down to the innermost resized axis.
    sizes: Sizes,
    /// Offsets in x along these axes, one axis after the other.
    offsets: ScratchBuffer<'r, usize>,
    /// Elements inside of it, which stay together.
    run: usize,
}

impl<'r> Places<'r> {
    fn new(plan: &ResizePlan<'_>, x: &[usize], scratch: &'r Scratch) -> Result<Self, KernelError> {
        check_inside(plan)?;
        let strides = strides(x);
        let depth = plan.axes.iter().map(|resized| resized.axis + 1).max().unwrap_or(0);
        let sizes = Sizes::from_slice(&plan.sizes[..depth]);
        let along = |axis: usize| (0..plan.sizes[axis]).map(move |i| (axis, i));
        let offset = |(axis, i): (usize, usize)| plan.nearest(axis, i) * strides[axis];
        let offsets = scratch.list_of(sizes.iter().sum(), (0..depth).flat_map(along).map(offset));
        Ok(Self { sizes, offsets, run: x[depth..].iter().product() })
    }

    fn copy<T: Pod + Send + Sync>(&self, x: &[T], y: &mut [T], workers: &dyn Workers) {
        let Some((&length, outer)) = self.sizes.split_last() else { return y.copy_from_slice(x) };
        let (before, last) = self.offsets.split_at(self.offsets.len() - length);
        let unit = length * self.run;
        share(workers, y, unit, Cost::PerElement(1), |first, chunk| {
            for (i, row) in chunk.chunks_exact_mut(unit).enumerate() {
                let at = unravel(first + i, outer);
                let (mut from, mut axis) = (0, 0);
                for (i, size) in at.iter().zip(outer) {
                    from += before[axis + i];
                    axis += size;
                }
                let source = &x[from..];
                if self.run == 1 {
                    row.iter_mut().zip(last).for_each(|(y, &offset)| *y = source[offset]);
                } else {
                    for (part, &offset) in row.chunks_exact_mut(self.run).zip(last) {
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
        let (region, scales) = (list(1), list(2));
        let sizes = tensor(3).map(Tensor::to_i64).unwrap_or_default();
        let (requested, scratch) = (Requested { region: &region, scales: &scales, sizes: &sizes }, Scratch::default());
        let plan = ResizePlan::new(&self.op, x.sizes(), requested, &scratch)?;
        check_inside(&plan)?;
        let strides = strides(x.sizes());
        let place = |flat: usize| {
            let at = unravel(flat, &plan.sizes);
            let index: Sizes = at.iter().enumerate().map(|(axis, &i)| plan.nearest(axis, i)).collect();
            Some(ravel(&index, &strides))
        };
        let y = x.rearranged(&plan.sizes, place).map_err(|e| KernelError::Data(e.to_string()))?;
        Ok(vec![y.into()])
    }
}
