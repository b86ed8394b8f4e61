//! `cpu.index.range`: evenly spaced numbers, each by its own product, so that errors do not add up.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, View};
use sinter_ops::OpKind;

use crate::arguments::result;
use crate::elements::{Numbers, load, store, store_real};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const RANGE: Row = Row {
    name: "cpu.index.range",
    roots: &[OpKind::Range],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, Range);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(RangeKernel)))
}

struct RangeKernel;

/// Longer ranges would not fit any memory.
const LIMIT: f64 = 1e15;

impl Kernel for RangeKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let bounds = [launch.input(0)?, launch.input(1)?, launch.input(2)?];
        if let Some(other) = bounds.iter().find(|b| b.count() != 1) {
            refuse_data!("a bound of a range has {} elements", other.count());
        }
        let scratch = launch.scratch;
        let unsigned = bounds[0].data_type() == DataType::U64;
        // The result first: an absurd length must fail before memory is taken for it.
        match bounds.map(|bound: View<'_>| load(bound, scratch)) {
            [Numbers::Floats(start), Numbers::Floats(limit), Numbers::Floats(delta)] => {
                let (start, limit, delta) = (start[0], limit[0], delta[0]);
                let count = ((limit - start) / delta).ceil();
                if delta == 0.0 || count.is_nan() || count >= LIMIT {
                    refuse_data!("the range from {start} to {limit} by {delta} has no sensible length");
                }
                // The conversion makes negative counts 0.
                let count = count as usize;
                let mut y = result(&mut launch.outputs[0], &[count])?;
                store_real(&scratch.list((0..count).map(|k| start + k as f64 * delta)), &mut y);
            }
            [Numbers::Ints(start), Numbers::Ints(limit), Numbers::Ints(delta)] => {
                let wide = |v: i64| if unsigned { i128::from(v.cast_unsigned()) } else { i128::from(v) };
                let (start, limit, delta) = (wide(start[0]), wide(limit[0]), wide(delta[0]));
                if delta == 0 {
                    refuse_data!("a range with steps of 0");
                }
                let distance = if delta < 0 { start - limit } else { limit - start };
                let count = (distance.max(0) + delta.abs() - 1) / delta.abs();
                if count as f64 >= LIMIT {
                    refuse_data!("the range from {start} to {limit} by {delta} is too long");
                }
                let mut y = result(&mut launch.outputs[0], &[count as usize])?;
                let values = (0..count as usize).map(|k| (start + k as i128 * delta) as i64);
                store(&Numbers::Ints(scratch.list(values)), &mut y);
            }
            _ => refuse_data!("the bounds of a range are of different kinds"),
        }
        Ok(())
    }
}
