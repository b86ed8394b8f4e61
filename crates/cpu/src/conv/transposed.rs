//! Transposed convolution: products of weights and inputs, added up where the copies of the kernel overlap.
//!
//! For each image and group, `columns[(m, k), i] = sum over c of w[c, m, k] x[c, i]` is a matrix product, and row
//! (m, k) is added to plane m of the result at the places of tap k. `cpu.conv.transposed_gemm.f32` computes the product
//! by the blocked kernel, for as many planes at a time as fit a bounded buffer; `cpu.conv.transposed` computes one row
//! after the other, in any float type.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::for_each_index;
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::conv::Deconvolution;
use sinter_ops::window::Padding;

use crate::conv::scatter::Scatter;
use crate::launch::{Kernel, Launch, Loaded, Scratch, Workers};
use crate::matmul::gemm::{Product, Strided};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;
use crate::window::Slide;

/// f32 by the blocked product.
pub const GEMM: Row = Row {
    name: "cpu.conv.transposed_gemm.f32",
    roots: &[OpKind::Deconvolution],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel: gemm,
};

/// Any float type.
pub const GENERIC: Row = Row {
    name: "cpu.conv.transposed",
    roots: &[OpKind::Deconvolution],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: generic,
};

/// Numbers in the buffer of products.
const BUFFER: usize = 1 << 22;

fn gemm(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Deconvolution);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::F32) => Ok(Loaded::Kernel(Box::new(Transposed { op: op.clone(), blocked: true }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of f32"))),
    }
}

fn generic(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Deconvolution);
    Ok(Loaded::Kernel(Box::new(Transposed { op: op.clone(), blocked: false })))
}

struct Transposed {
    op: Deconvolution,
    blocked: bool,
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Transposed {
    /// Elements cut before the first one of the result.
    fn begin(&self, axis: usize, input: usize, kernel: usize, output: usize) -> i64 {
        match &self.op.padding {
            Padding::Explicit { begin, .. } if self.op.output_sizes.is_none() => begin[axis],
            Padding::Valid if self.op.output_sizes.is_none() => 0,
            other => {
                let steps = (signed(input) - 1).saturating_mul(signed(self.op.strides[axis]));
                let span = signed(kernel).saturating_sub(1).saturating_mul(signed(self.op.dilations[axis]));
                let added = signed(self.op.output_padding[axis]);
                let full = steps.saturating_add(span).saturating_add(added).saturating_add(1);
                let cut = full.saturating_sub(signed(output)).max(0);
                if *other == Padding::SameUpper { cut / 2 } else { cut - cut / 2 }
            }
        }
    }

    fn geometry(&self, x: &[usize], w: &[usize], y: &[usize]) -> Result<Geometry, KernelError> {
        let rank = self.op.strides.len() + 2;
        if [x, w, y].iter().any(|sizes| sizes.len() != rank) || self.op.groups == 0 {
            return Err(KernelError::Data(format!("a transposed convolution of {x:?} by {w:?} to {y:?}")));
        }
        let slide = |axis: usize| Slide {
            input: y[axis + 2],
            output: x[axis + 2],
            kernel: w[axis + 2],
            stride: self.op.strides[axis].max(1),
            dilation: self.op.dilations[axis],
            begin: self.begin(axis, x[axis + 2], w[axis + 2], y[axis + 2]),
        };
        Ok(Geometry {
            scatter: Scatter::new((0..rank - 2).map(slide).collect()),
            groups: self.op.groups,
            group_inputs: x[1] / self.op.groups,
            group_outputs: w[1],
            taps: w[2..].iter().product(),
            x_plane: x[2..].iter().product(),
            y_plane: y[2..].iter().product(),
        })
    }
}

struct Geometry {
    scatter: Scatter,
    groups: usize,
    group_inputs: usize,
    group_outputs: usize,
    taps: usize,
    x_plane: usize,
    y_plane: usize,
}

impl Geometry {
    /// Adds the rows of one plane, in order of the taps.
    fn add_plane<T: Number>(&self, columns: &[T], plane: &mut [T]) {
        let mut rows = columns.chunks_exact(self.x_plane.max(1));
        for_each_index(self.scatter.kernel(), |tap| {
            if let Some(row) = rows.next() {
                self.scatter.add(tap, row, plane);
            }
        });
    }

    fn blocked(
        &self,
        (x, w, bias): (&[f32], &[f32], Option<&[f32]>),
        y: &mut [f32],
        workers: &dyn Workers,
        scratch: &Scratch,
    ) {
        let tier = Tier::in_use();
        let rows_per_plane = self.taps * self.x_plane;
        let planes = (BUFFER / rows_per_plane.max(1)).clamp(1, self.group_outputs.max(1));
        let mut buffer = scratch.allocate::<f32>(planes * rows_per_plane);
        let group_weights = self.group_inputs * self.group_outputs * self.taps;
        for (block, y) in y.chunks_mut(self.group_outputs * self.y_plane).enumerate() {
            let group = block % self.groups;
            let first_input = block * self.group_inputs;
            let x = &x[first_input * self.x_plane..(first_input + self.group_inputs) * self.x_plane];
            let w = &w[group * group_weights..(group + 1) * group_weights];
            for (part, y) in y.chunks_mut(planes * self.y_plane).enumerate() {
                let first = part * planes;
                let count = y.len() / self.y_plane;
                let columns = &mut buffer[..count * rows_per_plane];
                Product {
                    rows: count * self.taps,
                    columns: self.x_plane,
                    inner: self.group_inputs,
                    a: &Strided {
                        data: w.get(first * self.taps..).unwrap_or_default(),
                        lane: 1,
                        inner: self.group_outputs * self.taps,
                    },
                    b: &Strided { data: x, lane: 1, inner: self.x_plane },
                    row_bias: None,
                }
                .compute(tier, workers, scratch, columns);
                let columns = &*columns;
                share(workers, y, self.y_plane, Cost::PerElement(self.taps), |plane, chunk| {
                    for (i, target) in chunk.chunks_exact_mut(self.y_plane).enumerate() {
                        let output = plane + i;
                        target.fill(bias.map_or(0.0, |b| b[group * self.group_outputs + first + output]));
                        self.add_plane(&columns[output * rows_per_plane..(output + 1) * rows_per_plane], target);
                    }
                });
            }
        }
    }
}

impl Formula for Geometry {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let Means { workers, scratch } = means;
        let (x, w, bias) = (inputs.given(0), inputs.given(1), inputs.optional(2));
        let channels = self.groups * self.group_outputs;
        scratch.reserve::<T>(workers.count(), self.x_plane);
        share(workers, y, self.y_plane, Cost::PerElement(self.group_inputs * self.taps), |first, chunk| {
            let mut row = scratch.allocate::<T>(self.x_plane);
            for (i, target) in chunk.chunks_exact_mut(self.y_plane).enumerate() {
                let (sample, output) = ((first + i) / channels, (first + i) % channels);
                target.fill(bias.map_or(T::default(), |b| b[output]));
                let (group, inside) = (output / self.group_outputs, output % self.group_outputs);
                let mut tap_index = 0;
                for_each_index(self.scatter.kernel(), |tap| {
                    row.fill(T::default());
                    for input in group * self.group_inputs..(group + 1) * self.group_inputs {
                        let weight = w[(input * self.group_outputs + inside) * self.taps + tap_index];
                        let plane = sample * self.groups * self.group_inputs + input;
                        let source = &x[plane * self.x_plane..(plane + 1) * self.x_plane];
                        row.iter_mut().zip(source).for_each(|(y, &v)| *y += weight * v);
                    }
                    self.scatter.add(tap, &row, target);
                    tap_index += 1;
                });
            }
        });
        Ok(())
    }
}

impl Kernel for Transposed {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w, bias) = (launch.input(0)?, launch.input(1)?, launch.optional(2));
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0);
        let y_sizes = Sizes::from_slice(y.sizes());
        let geometry = self.geometry(x.sizes(), w.sizes(), &y_sizes)?;
        if y.count() == 0 {
            return Ok(());
        }
        if !self.blocked {
            return evaluate(&geometry, &[Some(x), Some(w), bias], y, workers, scratch);
        }
        let bias = bias.map(|b| b.elements::<f32>());
        geometry.blocked((x.elements(), w.elements(), bias), y.elements(), workers, scratch);
        Ok(())
    }
}
