//! `cpu.movement.reverse_sequence`: the first elements of every sequence in reverse order, by runs of everything behind
//! the batch and time axes.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::movement::ReverseSequence;

use crate::arguments::{axis_in, integers, result};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const REVERSE_SEQUENCE: Row = Row {
    name: "cpu.movement.reverse_sequence",
    roots: &[OpKind::ReverseSequence],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, ReverseSequence);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(ReverseKernel { op: op.clone() })))
}

struct ReverseKernel {
    op: ReverseSequence,
}

impl Kernel for ReverseKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, given) = (launch.input(0)?, integers(launch.input(1)?, launch.scratch)?);
        let rank = x.sizes().len();
        let (batch, time) = (axis_in(self.op.batch_axis, rank)?, axis_in(self.op.time_axis, rank)?);
        if batch == time || given.len() != x.sizes()[batch] {
            refuse_data!("{} lengths for sizes {:?}, batch {batch}, time {time}", given.len(), x.sizes());
        }
        let steps = x.sizes()[time];
        let length_of = |length: i64| usize::try_from(length).ok().filter(|&length| length <= steps);
        if let Some(length) = given.iter().find(|&&length| length_of(length).is_none()) {
            refuse_data!("a sequence of length {length} among {steps} time steps");
        }
        let rows = Sizes::from_slice(&x.sizes()[..=batch.max(time)]);
        let own = strides(&rows);
        let run = x.sizes()[rows.len()..].iter().product::<usize>() * element_bytes(x.data_type());
        let (source, count) = (x.bytes(), x.count());
        let workers = launch.workers;
        let mut y = result(&mut launch.outputs[0], x.sizes())?;
        share(workers, y.bytes(), run, Cost::InAll(count), |from, chunk| {
            for (at, row) in chunk.chunks_exact_mut(run).enumerate() {
                let mut index = unravel(from + at, &rows);
                let length = length_of(given[index[batch]]).unwrap_or(0);
                if index[time] < length {
                    index[time] = length - 1 - index[time];
                }
                let start = ravel(&index, &own) * run;
                row.copy_from_slice(&source[start..start + run]);
            }
        });
        Ok(())
    }
}
