//! `cuda.attention.rotary`: rotation of pairs of components by an angle that depends on the position. A thread computes one
//! component.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::attention::RotaryEmbedding;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const ROTARY: Row = Row {
    name: "cuda.attention.rotary",
    roots: &[OpKind::RotaryEmbedding],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

const POSITIONS: usize = 3;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, RotaryEmbedding).clone();
    refuse_unknown_sizes(region)?;
    let text = Text {
        name: ROTARY.name,
        interface: 1,
        generated: typedefs(&[("T", region.input(0).map(|ty| ty.data_type))])?,
        text: include_str!("rotary.cu"),
        contraction: Contraction::On,
        entries: &["rotate"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &RotaryEmbedding) -> Result<(), KernelError> {
    let (x, cosines, sines, y) = (launch.input(0)?, launch.input(1)?, launch.input(2)?, launch.output(0)?);
    let mismatch = || recipe(format!("{:?} rotated by {:?} and {:?}", x.sizes, cosines.sizes, sines.sizes));
    // Rows of a batch entry, and from one step to the next.
    let (batch, length, size, rows, step) = match (x.sizes, op.heads) {
        (&[batch, heads, length, size], _) => (batch, length, size, heads * length, 1),
        (&[batch, length, hidden], Some(heads)) if heads > 0 && hidden % heads == 0 => {
            (batch, length, hidden / heads, heads * length, heads)
        }
        _ => return Err(mismatch()),
    };
    let rotated = if op.rotated == 0 { size } else { op.rotated };
    if x.sizes != y.sizes || rotated > size || rotated % 2 != 0 {
        return Err(mismatch());
    }
    let half = rotated / 2;
    let table = cosines.count().min(sines.count()).checked_div(half).unwrap_or(0);
    let positions = launch.inputs.get(POSITIONS).copied().flatten();
    let is_single = positions.is_some_and(|positions| positions.sizes.len() == 1);
    let expected = if is_single { 1 } else { batch * length };
    if positions.is_some_and(|positions| positions.count() != expected) {
        return Err(mismatch());
    }
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::new();
    let sizes = [x.count(), size, rotated, half, table, usize::from(op.interleaved), rows, step, length];
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([u64::from(is_single), x.address, cosines.address, sines.address, launch.address(POSITIONS)]);
    parameters.extend([y.address, launch.fault]);
    launch.each(0, y.count(), &parameters)
}
