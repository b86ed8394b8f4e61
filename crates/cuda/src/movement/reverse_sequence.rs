//! `cuda.movement.reverse_sequence`: sequences of different lengths reversed in place.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::Lines;
use crate::movement::moves::rank_of;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const REVERSE_SEQUENCE: Row = Row {
    name: "cuda.movement.reverse_sequence",
    roots: &[OpKind::ReverseSequence],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, ReverseSequence);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    let axis = |axis| axis_of(axis, rank).map_err(|error| Refusal::new(error.to_string()));
    let (batch, time) = (axis(op.batch_axis)?, axis(op.time_axis)?);
    let text = Text {
        name: REVERSE_SEQUENCE.name,
        interface: 1,
        generated: moved_type(region)? + &typedefs(&[("Index", region.input(1).map(|ty| ty.data_type))])?,
        text: include_str!("reverse_sequence.cu"),
        contraction: Contraction::Off,
        entries: &["reverse"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, batch, time)).boxed())
}

fn run(launch: &mut Launch<'_>, batch: usize, time: usize) -> Result<(), KernelError> {
    let (x, lengths, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let (batch, time) = (Lines::along(x.sizes, batch), Lines::along(x.sizes, time));
    if x.sizes != y.sizes || lengths.count() != batch.length {
        return Err(recipe(format!("{:?} lengths of sequences in {:?} to {:?}", lengths.sizes, x.sizes, y.sizes)));
    }
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&batch.words());
    parameters.extend(time.words());
    parameters.extend([x.address, lengths.address, y.address, launch.fault]);
    launch.each(0, y.count(), &parameters)
}
