//! `cuda.index.gather_nd`: slices picked by index vectors.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::index::vectors::Vectors;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const GATHER_ND: Row = Row {
    name: "cuda.index.gather_nd",
    roots: &[OpKind::GatherNd],
    numerics: Numerics::Exact,
    speed: Speed::SCATTERED,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, GatherNd);
    refuse_unknown_sizes(region)?;
    let text = Text {
        name: GATHER_ND.name,
        interface: 1,
        generated: moved_type(region)? + &typedefs(&[("Index", region.input(1).map(|ty| ty.data_type))])?,
        text: include_str!("gather_nd.cu"),
        contraction: Contraction::Off,
        entries: &["gather"],
    };
    let batch_dims = op.batch_dims;
    Ok(TextKernel::new(region, text, move |launch| run(launch, batch_dims)).boxed())
}

fn run(launch: &mut Launch<'_>, batch_dims: usize) -> Result<(), KernelError> {
    let (x, indices, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let vectors = Vectors::new(x.sizes, indices.sizes, batch_dims)?;
    if !vectors.slices(indices.sizes).eq(y.sizes.iter().copied()) {
        return Err(recipe(format!("{:?} pick no {:?} of {:?}", indices.sizes, y.sizes, x.sizes)));
    }
    let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&[y.count() as u64, vectors.inner as u64]);
    parameters.extend(vectors.words());
    parameters.extend([x.address, indices.address, y.address, launch.fault]);
    launch.each(0, y.count(), &parameters)
}
