//! `cpu.index.top_k`: the largest or smallest elements along an axis.
//!
//! Each line's elements become pairs of key and position, the best `k` are selected in linear time and only those are
//! sorted. Positions break ties, so that the order is total and the result the same however it is found.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::index::TopK;

use crate::arguments::{Lines, axis_in, result, single_integer};
use crate::index::keys::keys;
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{by_width, only_operator, refuse_data};

/// See the module documentation.
pub const TOP_K: Row = Row {
    name: "cpu.index.top_k",
    roots: &[OpKind::TopK],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, TopK);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(TopKKernel { op: op.clone() })))
}

struct TopKKernel {
    op: TopK,
}

impl Kernel for TopKKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, k) = (launch.input(0)?, single_integer(launch.input(1)?, launch.scratch)?);
        let axis = axis_in(self.op.axis, x.sizes().len())?;
        let lines = Lines::along(x.sizes(), axis);
        let Lines { outer, length, inner } = lines;
        let Some(k) = usize::try_from(k).ok().filter(|&k| k <= length) else {
            refuse_data!("the {k} best of {length} elements do not exist")
        };
        let mut sizes = Sizes::from_slice(x.sizes());
        sizes[axis] = k;
        // Descending order is ascending order of the complements.
        let flip = if self.op.largest { -1 } else { 0 };
        let (workers, scratch) = (launch.workers, launch.scratch);
        let keys = keys(x, scratch);
        scratch.reserve::<[i64; 2]>(workers.count(), length);
        let [values, positions, ..] = &mut *launch.outputs else { refuse_data!("two results are needed") };
        let mut positions = result(positions, &sizes)?;
        let places = positions.elements::<i64>();
        share(workers, places, k * inner, Cost::InAll(x.count()), |from, chunk| {
            // Keys with their positions.
            let mut line = scratch.allocate::<[i64; 2]>(length);
            for (at, block) in chunk.chunks_exact_mut(k * inner).enumerate() {
                for i in 0..inner {
                    let start = (from + at) * length * inner + i;
                    for (p, entry) in line.iter_mut().enumerate() {
                        *entry = [keys[start + p * inner] ^ flip, p as i64];
                    }
                    if k < length {
                        line.select_nth_unstable(k);
                    }
                    line[..k].sort_unstable();
                    for (rank, [_, position]) in line[..k].iter().enumerate() {
                        block[rank * inner + i] = *position;
                    }
                }
            }
        });
        let mut values = result(values, &sizes)?;
        if outer * k * inner == 0 {
            return Ok(());
        }
        by_width!(element_bytes(x.data_type()), T => {
            let source = bytemuck::cast_slice::<u8, T>(x.bytes());
            let target = bytemuck::cast_slice_mut::<u8, T>(values.bytes());
            for (at, (value, &position)) in target.iter_mut().zip(&*places).enumerate() {
                let (o, i) = (at / (k * inner), at % inner);
                *value = source[(o * length + usize::try_from(position).unwrap_or(0)) * inner + i];
            }
        });
        Ok(())
    }
}
