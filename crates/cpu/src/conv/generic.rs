//! `cpu.conv.generic`: convolution by plain loops, any element type, any number of spatial axes. Output planes are
//! shared among the workers.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::for_each_index;
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;
use sinter_ops::window::Axis;

use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::window::{Reach, Slide, Slides};

/// See the module documentation.
pub const GENERIC: Row = Row {
    name: "cpu.conv.generic",
    roots: &[OpKind::Convolution],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Convolution);
    Ok(Loaded::Kernel(Box::new(Generic { op: op.clone() })))
}

struct Generic {
    op: Convolution,
}

/// The problem of one launch.
struct Planes<'r> {
    slides: Slides,
    /// The reach of each tap of the last axis.
    reaches: ScratchBuffer<'r, Reach>,
    /// Output channels, and those of one group.
    channels: usize,
    group: usize,
    /// Input channels in all, and those that one output sees.
    inputs: usize,
    seen: usize,
    /// Elements of an input plane, an output plane, a kernel for one channel.
    input: usize,
    output: usize,
    taps: usize,
}

impl<'r> Planes<'r> {
    fn of(op: &Convolution, x: &[usize], w: &[usize], y: &[usize], scratch: &'r Scratch) -> Self {
        let axis = |index: usize| Axis {
            stride: op.strides[index],
            dilation: op.dilations[index],
            padding: &op.padding,
            index,
            ceil: false,
        };
        let slide = |index: usize| Slide::new(&axis(index), x[index + 2], y[index + 2], w[index + 2]);
        let slides: Slides = (0..x.len() - 2).map(slide).collect();
        Self {
            reaches: slides.last().map_or_else(|| scratch.allocate(0), |last| last.reaches(scratch)),
            slides,
            channels: y[1].max(1),
            group: (w[0] / op.groups.max(1)).max(1),
            inputs: x[1],
            seen: w[1],
            input: x[2..].iter().product(),
            output: y[2..].iter().product(),
            taps: w[2..].iter().product(),
        }
    }

    /// Adds all products to output planes from `first` on. Each output's products come in the order of the formula:
    /// channels, then taps.
    fn add<T: Copy>(&self, first: usize, ys: &mut [T], xs: &[T], ws: &[T], add: impl Fn(T, T, T) -> T) {
        for (index, y) in ys.chunks_exact_mut(self.output).enumerate() {
            let (n, m) = ((first + index) / self.channels, (first + index) % self.channels);
            for channel in 0..self.seen {
                let x = (n * self.inputs + m / self.group * self.seen + channel) * self.input;
                let w = (m * self.seen + channel) * self.taps;
                self.add_plane(y, &xs[x..x + self.input], &ws[w..w + self.taps], &add);
            }
        }
    }

    /// One input plane under one kernel: rows along the last axis in runs, the other axes one by one.
    fn add_plane<T: Copy>(&self, y: &mut [T], x: &[T], w: &[T], add: &impl Fn(T, T, T) -> T) {
        let Some((last, outer)) = self.slides.split_last().filter(|_| self.taps > 0) else { return };
        let outputs: Sizes = outer.iter().map(|slide| slide.output).collect();
        let kernels: Sizes = outer.iter().map(|slide| slide.kernel).collect();
        let mut rows = y.chunks_exact_mut(last.output);
        for_each_index(&outputs, |at| {
            let Some(row) = rows.next() else { return };
            let mut taps = w.chunks_exact(last.kernel);
            for_each_index(&kernels, |tap| {
                let Some(weights) = taps.next() else { return };
                let source = outer
                    .iter()
                    .zip(at.iter().zip(tap))
                    .try_fold(0, |row, (slide, (&at, &tap))| Some(row * slide.input + slide.source(at, tap)?));
                let Some(source) = source else { return };
                let line = &x[source * last.input..(source + 1) * last.input];
                for (reach, &weight) in self.reaches.iter().zip(weights) {
                    let run = line[reach.source.min(line.len())..].iter().step_by(last.stride);
                    for (y, &x) in row[reach.outputs()].iter_mut().zip(run) {
                        *y = add(*y, x, weight);
                    }
                }
            });
        });
    }
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w) = (launch.input(0)?, launch.input(1)?);
        let scratch = launch.scratch;
        let bias = launch.optional(2).map(|bias| load(bias, scratch));
        let planes = Planes::of(&self.op, x.sizes(), w.sizes(), launch.output(0).sizes(), scratch);
        let mut y = Numbers::like(x.data_type(), launch.output(0).count(), scratch);
        let (plane, work, workers) = (planes.output, planes.seen * planes.taps, launch.workers);
        let channel_of = |output: usize| output / plane.max(1) % planes.channels;
        match (load(x, scratch), load(w, scratch), &mut y) {
            (Numbers::Floats(xs), Numbers::Floats(ws), Numbers::Floats(ys)) => {
                if let Some(Numbers::Floats(b)) = &bias {
                    ys.iter_mut().enumerate().for_each(|(i, y)| *y = b[channel_of(i)]);
                }
                share(workers, ys, plane, Cost::PerElement(work), |first, chunk| {
                    planes.add(first, chunk, &xs, &ws, |y, x, w| y + x * w);
                });
            }
            (Numbers::Ints(xs), Numbers::Ints(ws), Numbers::Ints(ys)) => {
                if let Some(Numbers::Ints(b)) = &bias {
                    ys.iter_mut().enumerate().for_each(|(i, y)| *y = b[channel_of(i)]);
                }
                share(workers, ys, plane, Cost::PerElement(work), |first, chunk| {
                    planes.add(first, chunk, &xs, &ws, |y, x, w| y.wrapping_add(x.wrapping_mul(w)));
                });
            }
            _ => return Err(KernelError::Data("operands of different kinds".to_owned())),
        }
        store(&y, launch.output(0));
        Ok(())
    }
}
