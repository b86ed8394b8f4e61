//! `cuda.index.gather_elements`: single elements picked by their index along one axis.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::strides;
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::{axes, number, rank_of};
use crate::only_operator;
use crate::space::{RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const GATHER_ELEMENTS: Row = Row {
    name: "cuda.index.gather_elements",
    roots: &[OpKind::GatherElements],
    numerics: Numerics::Exact,
    speed: Speed::SCATTERED,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, GatherElements);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    let axis = axis_of(op.axis, rank).map_err(|error| Refusal::new(error.to_string()))?;
    if rank > RANK {
        return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
    }
    let text = Text {
        name: GATHER_ELEMENTS.name,
        interface: 1,
        generated: moved_type(region)? + &typedefs(&[("Index", region.input(1).map(|ty| ty.data_type))])?,
        text: include_str!("gather_elements.cu"),
        contraction: Contraction::Off,
        entries: &["gather"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, axis)).boxed())
}

fn run(launch: &mut Launch<'_>, axis: usize) -> Result<(), KernelError> {
    let (x, indices, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let lies_within = |(at, (index, size)): (usize, (&usize, &usize))| at == axis || index <= size;
    let fits = x.sizes.len() == indices.sizes.len() && indices.sizes.iter().zip(x.sizes).enumerate().all(lies_within);
    let mut own = axes(&strides(x.sizes));
    let Some(axis_stride) = own.get_mut(axis).filter(|_| fits && y.sizes == indices.sizes) else {
        return Err(recipe(format!("{:?} pick no {:?} of {:?}", indices.sizes, y.sizes, x.sizes)));
    };
    let axis_stride = std::mem::take(axis_stride);
    let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&[y.count() as u64, y.sizes.len() as u64]);
    parameters.extend(words(&axes(indices.sizes)).into_iter().chain(words(&own)));
    parameters.extend([number(x.sizes[axis]).cast_unsigned(), axis_stride.cast_unsigned()]);
    parameters.extend([x.address, indices.address, y.address, launch.fault]);
    launch.each(0, y.count(), &parameters)
}
