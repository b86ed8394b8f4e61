//! `cpu.conv.deformable`: convolution that reads every element of a window at a separate offset.
//!
//! For each image, the kernel writes the interpolated and weighted elements as columns, `columns[(c, k), o]`; each
//! plane of the result is then a sum of columns times weights, a row of positions at a time.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::{for_each_index, strides, unravel};
use sinter_ops::OpKind;
use sinter_ops::conv::DeformableConvolution;
use sinter_ops::window::Axis;
use smallvec::{SmallVec, smallvec};

use crate::launch::{Kernel, Launch, Loaded, Workers};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const DEFORMABLE: Row = Row {
    name: "cpu.conv.deformable",
    roots: &[OpKind::DeformableConvolution],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

/// A position has two neighbours on every axis: more axes than this have more neighbours than can be read.
const MAX_AXES: usize = 16;

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, DeformableConvolution);
    if op.strides.len() > MAX_AXES {
        return Err(Refusal::new(format!("{} spatial axes, at most {MAX_AXES}", op.strides.len())));
    }
    Ok(Loaded::Kernel(Box::new(Deformable { op: op.clone() })))
}

struct Deformable {
    op: DeformableConvolution,
}

struct Problem<'a> {
    op: &'a DeformableConvolution,
    x: Sizes,
    w: Sizes,
    y: Sizes,
    /// Leading pad per spatial axis.
    begins: SmallVec<[i64; MAX_AXES]>,
}

/// The value between the elements of a channel, linear on every axis, zero outside.
fn interpolated<T: Number>(channel: &[T], sizes: &[usize], strides: &[usize], position: &[f64]) -> f64 {
    let mut sum = 0.0;
    for corner in 0..1usize << sizes.len() {
        let (mut weight, mut flat, mut inside) = (1.0, 0, true);
        for (axis, &at) in position.iter().enumerate() {
            let low = at.floor();
            let upper = corner >> axis & 1 == 1;
            weight *= if upper { at - low } else { 1.0 - (at - low) };
            let element = if upper { low + 1.0 } else { low };
            if element >= 0.0 && element < sizes[axis] as f64 {
                flat += element as usize * strides[axis];
            } else {
                inside = false;
            }
        }
        if inside {
            sum += weight * channel[flat].wide();
        }
    }
    sum
}

impl Problem<'_> {
    /// Fills `columns` of one image; a unit is one row (c, k).
    fn read<T: Number>(
        &self,
        sample: usize,
        (x, offsets, mask): (&[T], &[T], Option<&[T]>),
        columns: &mut [T],
        workers: &dyn Workers,
    ) {
        let (image, outputs, kernel) = (&self.x[2..], &self.y[2..], &self.w[2..]);
        let image_strides = strides(image);
        let image_count: usize = image.iter().product();
        let positions: usize = outputs.iter().product();
        let taps: usize = kernel.iter().product();
        let (channels, spatial) = (self.x[1], image.len());
        let per_offset_group = (channels / self.op.offset_groups).max(1);
        share(workers, columns, positions, Cost::PerElement(16 << spatial), |first, chunk| {
            let mut position: SmallVec<[f64; MAX_AXES]> = smallvec![0.0; spatial];
            for (i, row) in chunk.chunks_exact_mut(positions).enumerate() {
                let (channel, tap_index) = ((first + i) / taps, (first + i) % taps);
                let tap = unravel(tap_index, kernel);
                let plane = (sample * channels + channel) * image_count;
                let source = &x[plane..plane + image_count];
                // Which (sample, offset group, tap) this is.
                let place = (sample * self.op.offset_groups + channel / per_offset_group) * taps + tap_index;
                let weights = mask.map(|m| &m[place * positions..(place + 1) * positions]);
                let mut output = 0;
                for_each_index(outputs, |at| {
                    for axis in 0..spatial {
                        let steps = at[axis].saturating_mul(self.op.strides[axis]);
                        let regular = steps.saturating_add(tap[axis].saturating_mul(self.op.dilations[axis]));
                        let offset = offsets[(place * spatial + axis) * positions + output].wide();
                        position[axis] = regular as f64 - self.begins[axis] as f64 + offset;
                    }
                    let value = interpolated(source, image, &image_strides, &position);
                    row[output] = T::of(value * weights.map_or(1.0, |w| w[output].wide()));
                    output += 1;
                });
            }
        });
    }
}

impl Formula for Problem<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let Means { workers, scratch } = means;
        let (x, w, offsets) = (inputs.given(0), inputs.given(1), inputs.given(2));
        let (bias, mask) = (inputs.optional(3), inputs.optional(4));
        let positions: usize = self.y[2..].iter().product();
        let taps: usize = self.w[2..].iter().product();
        let group_outputs = (self.w[0] / self.op.groups).max(1);
        let window = self.w[1] * taps;
        let mut columns = scratch.allocate::<T>(self.x[1] * taps * positions);
        for (sample, image) in y.chunks_exact_mut((self.y[1] * positions).max(1)).enumerate() {
            self.read(sample, (x, offsets, mask), &mut columns, workers);
            let columns = &columns;
            share(workers, image, positions, Cost::PerElement(window), |first, chunk| {
                for (i, plane) in chunk.chunks_exact_mut(positions).enumerate() {
                    let output = first + i;
                    plane.fill(bias.map_or(T::default(), |b| b[output]));
                    let start = output / group_outputs * window * positions;
                    let rows = columns[start..start + window * positions].chunks_exact(positions);
                    for (row, &weight) in rows.zip(&w[output * window..]) {
                        plane.iter_mut().zip(row).for_each(|(y, &v)| *y += weight * v);
                    }
                }
            });
        }
        Ok(())
    }
}

impl Kernel for Deformable {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w, offsets) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
        let (bias, mask) = (launch.optional(3), launch.optional(4));
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0);
        let spatial = self.op.strides.len();
        if [x.sizes(), w.sizes(), offsets.sizes(), y.sizes()].iter().any(|sizes| sizes.len() != spatial + 2) {
            return Err(KernelError::Data(format!("sizes {:?} and {:?} for {spatial} axes", x.sizes(), w.sizes())));
        }
        if y.count() == 0 {
            return Ok(());
        }
        let begin = |index: usize| {
            let (stride, dilation) = (self.op.strides[index], self.op.dilations[index]);
            let axis = Axis { stride, dilation, padding: &self.op.padding, index, ceil: false };
            axis.begin(x.sizes()[index + 2], w.sizes()[index + 2])
        };
        let problem = Problem {
            op: &self.op,
            x: Sizes::from_slice(x.sizes()),
            w: Sizes::from_slice(w.sizes()),
            y: Sizes::from_slice(y.sizes()),
            begins: (0..spatial).map(begin).collect(),
        };
        evaluate(&problem, &[Some(x), Some(w), Some(offsets), bias, mask], y, workers, scratch)
    }
}
