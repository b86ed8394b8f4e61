//! `cpu.reduce.arg`: the position of the largest or smallest element along an axis.
//!
//! The kernel walks all lines of one outer position at once, one step along the axis at a time, so that it reads memory
//! in order. NaN beats every number.

use bytemuck::Pod;
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::reduce::ArgReduce;

use crate::arguments::{Lines, axis_in, result};
use crate::elements::{Numbers, load};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const ARG_REDUCE: Row = Row {
    name: "cpu.reduce.arg",
    roots: &[OpKind::ArgReduce],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, ArgReduce);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(ArgKernel { op: op.clone() })))
}

struct ArgKernel {
    op: ArgReduce,
}

impl ArgKernel {
    /// Does `next` replace `best`, which comes before it? Only NaN differs from itself.
    #[inline(always)]
    #[allow(clippy::eq_op, reason = "one test for floats and integers: only NaN differs from itself")]
    fn replaces<T: PartialOrd + Copy>(&self, next: T, best: T) -> bool {
        let better = if self.op.largest { next > best } else { next < best };
        let (next_is_nan, best_is_nan) = (next != next, best != best);
        let equal = next == best || next_is_nan && best_is_nan;
        better || next_is_nan && !best_is_nan || equal && self.op.select_last
    }

    fn run<T: PartialOrd + Pod + Sync>(
        &self,
        launch: &mut Launch<'_, '_>,
        x: &[T],
        lines: Lines,
        y: &[usize],
    ) -> Result<(), KernelError> {
        let Lines { length, inner, .. } = lines;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = result(&mut launch.outputs[0], y)?;
        scratch.reserve::<T>(workers.count(), inner);
        share(workers, y.elements::<i64>(), inner, Cost::InAll(x.len()), |from, chunk| {
            let mut best = scratch.allocate::<T>(inner);
            for (at, positions) in chunk.chunks_exact_mut(inner).enumerate() {
                let block = &x[(from + at) * lines.block()..][..lines.block()];
                best.copy_from_slice(&block[..inner]);
                positions.fill(0);
                for step in 1..length {
                    let row = &block[step * inner..(step + 1) * inner];
                    for ((position, best), &next) in positions.iter_mut().zip(&mut *best).zip(row) {
                        if self.replaces(next, *best) {
                            (*position, *best) = (step as i64, next);
                        }
                    }
                }
            }
        });
        Ok(())
    }
}

impl Kernel for ArgKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let axis = axis_in(self.op.axis, x.sizes().len())?;
        let lines = Lines::along(x.sizes(), axis);
        if lines.length == 0 {
            refuse_data!("axis {axis} has no elements to compare");
        }
        let mut sizes = Sizes::from_slice(x.sizes());
        if self.op.keep_dims {
            sizes[axis] = 1;
        } else {
            sizes.remove(axis);
        }
        if x.data_type() == DataType::F32 {
            return self.run(launch, x.elements::<f32>(), lines, &sizes);
        }
        match load(x, launch.scratch) {
            Numbers::Floats(values) => self.run(launch, &values, lines, &sizes),
            Numbers::Ints(mut values) if x.data_type() == DataType::U64 => {
                // With the sign bit flipped, unsigned numbers compare as signed ones do.
                values.iter_mut().for_each(|v| *v ^= i64::MIN);
                self.run(launch, &values, lines, &sizes)
            }
            Numbers::Ints(values) => self.run(launch, &values, lines, &sizes),
        }
    }
}
