//! `cuda.index.non_zero`: positions of the elements that are not zero, whose number the kernel determines.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::operator::count_of;
use smallvec::{SmallVec, smallvec};

use crate::index::compaction::{Compaction, workspace};
use crate::kernel::{Bound, Contraction, Kernel, Launch, Tensor, recipe};
use crate::movement::moves::{axes, rank_of};
use crate::only_operator;
use crate::space::{RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const NON_ZERO: Row = Row {
    name: "cuda.index.non_zero",
    roots: &[OpKind::NonZero],
    numerics: Numerics::Exact,
    speed: Speed { bandwidth: 0.3, launches: 4.0, ..Speed::STREAMING },
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    only_operator!(region, NonZero);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    if rank > RANK {
        return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
    }
    let Some(ty) = region.input(0) else { return Err(Refusal::new("takes a tensor")) };
    let text = Text {
        name: NON_ZERO.name,
        interface: 1,
        generated: typedefs(&[("T", Some(ty.data_type))])?,
        text: include_str!("non_zero.cu"),
        contraction: Contraction::Off,
        entries: &["count", "total", "write"],
    };
    let counts = workspace(&count_of(&ty.clone().into()));
    Ok(TextKernel::new(region, text, run).with_workspace(counts).with_bounds(bounds).boxed())
}

fn bounds(inputs: &[Option<Tensor<'_>>]) -> Option<SmallVec<[Bound; 4]>> {
    let x = inputs.first().copied().flatten()?;
    Some(smallvec![Bound { sizes: smallvec![x.sizes.len(), x.count()], counted: Some(1) }])
}

fn run(launch: &mut Launch<'_>) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    let &[rank, most] = y.sizes else { return Err(recipe(format!("positions of sizes {:?}", y.sizes))) };
    if rank != x.sizes.len() {
        return Err(recipe(format!("positions {:?} in {:?}", y.sizes, x.sizes)));
    }
    let compaction = Compaction { length: x.count() };
    let counts = launch.scratch(compaction.bytes())?;
    let mut parameters: SmallVec<[u64; 24]> = SmallVec::from_slice(&compaction.words(counts, launch.total));
    parameters.push(rank as u64);
    parameters.extend(words(&axes(x.sizes)));
    parameters.extend([most as u64, x.address, y.address]);
    compaction.run(launch, [0, 1, 2], &parameters)
}
