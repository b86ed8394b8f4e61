//! `cpu.reduce.cumulative`: running sums or products along an axis.
//!
//! The kernel walks all lines of one outer position together, with one row of totals for all of them, so that it reads
//! memory in order. Floats run in f64 and are rounded once per result; integers wrap.

use bytemuck::Pod;
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::reduce::Cumulative;

use crate::arguments::{Lines, axis_in, result, single_integer};
use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, Scratch, Workers};
use crate::movement::takes_views;
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const CUMULATIVE: Row = Row {
    name: "cpu.reduce.cumulative",
    roots: &[OpKind::Cumulative],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Cumulative);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(CumulativeKernel { op: op.clone() })))
}

struct CumulativeKernel {
    op: Cumulative,
}

impl CumulativeKernel {
    /// Runs along all lines of `x` into `y`, totals of type `W`.
    fn run<T: Copy + Sync, W: Pod + Sync, Y: Send>(
        &self,
        (workers, scratch): (&dyn Workers, &Scratch),
        lines: Lines,
        (x, y): (&[T], &mut [Y]),
        (start, join): (W, impl Fn(W, T) -> W + Sync),
        narrow: impl Fn(W) -> Y + Sync,
    ) {
        let Lines { length, inner, .. } = lines;
        scratch.reserve::<W>(workers.count(), inner);
        share(workers, y, lines.block(), Cost::PerElement(1), |from, chunk| {
            let mut totals = scratch.allocate(inner);
            for (at, block) in chunk.chunks_exact_mut(lines.block()).enumerate() {
                let source = &x[(from + at) * lines.block()..][..lines.block()];
                totals.fill(start);
                for step in 0..length {
                    let step = if self.op.reverse { length - 1 - step } else { step };
                    let row = step * inner..(step + 1) * inner;
                    for ((total, y), &x) in totals.iter_mut().zip(&mut block[row.clone()]).zip(&source[row]) {
                        let next = join(*total, x);
                        *y = narrow(if self.op.exclusive { *total } else { next });
                        *total = next;
                    }
                }
            }
        });
    }
}

impl Kernel for CumulativeKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, axis) = (launch.input(0)?, single_integer(launch.input(1)?, launch.scratch)?);
        let axis = axis_in(axis, x.sizes().len())?;
        let lines = Lines::along(x.sizes(), axis);
        let (scratch, product) = (launch.scratch, self.op.product);
        let means = (launch.workers, scratch);
        let mut y = result(&mut launch.outputs[0], x.sizes())?;
        if x.data_type() == DataType::F32 {
            let pair = (x.elements::<f32>(), y.elements::<f32>());
            match product {
                true => self.run(means, lines, pair, (1.0, |a: f64, b: f32| a * f64::from(b)), |v| v as f32),
                false => self.run(means, lines, pair, (0.0, |a: f64, b: f32| a + f64::from(b)), |v| v as f32),
            }
            return Ok(());
        }
        let numbers = match load(x, scratch) {
            Numbers::Floats(x) => {
                let mut y = scratch.allocate(x.len());
                match product {
                    true => self.run(means, lines, (&x, &mut y), (1.0, |a: f64, b: f64| a * b), |v| v),
                    false => self.run(means, lines, (&x, &mut y), (0.0, |a: f64, b: f64| a + b), |v| v),
                }
                Numbers::Floats(y)
            }
            Numbers::Ints(x) => {
                // Low bits of sums and products depend on low bits only: the store wraps to the type.
                let mut y = scratch.allocate(x.len());
                match product {
                    true => self.run(means, lines, (&x, &mut y), (1, i64::wrapping_mul), |v| v),
                    false => self.run(means, lines, (&x, &mut y), (0, i64::wrapping_add), |v| v),
                }
                Numbers::Ints(y)
            }
        };
        store(&numbers, &mut y);
        Ok(())
    }
}
