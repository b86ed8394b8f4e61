//! `cuda.pool.unpool`: elements put back where a max pool found them, zeros elsewhere.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::strides;
use sinter_base::{Dim, Sizes};
use sinter_ops::OpKind;
use sinter_ops::operator::count_of;
use sinter_ops::pool::MaxUnpool;
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::{axes, number, rank_of};
use crate::only_operator;
use crate::space::{RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_ranks};
use crate::text_kernel::{Text, TextKernel};

/// See the module documentation.
pub const UNPOOL: Row = Row {
    name: "cuda.pool.unpool",
    roots: &[OpKind::MaxUnpool],
    numerics: Numerics::Exact,
    speed: Speed { launches: 3.0, ..Speed::SCATTERED },
    kernel,
};

const CLEAR: usize = 0;
const MARK: usize = 1;
const PLACE: usize = 2;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, MaxUnpool).clone();
    refuse_unknown_ranks(region)?;
    let rank = rank_of(region)?;
    if rank > RANK {
        return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
    }
    let text = Text {
        name: UNPOOL.name,
        interface: 1,
        generated: moved_type(region)?,
        text: include_str!("unpool.cu"),
        contraction: Contraction::Off,
        entries: &["clear", "mark", "place"],
    };
    let places = region.output(0).map_or(Dim::constant(0), |ty| count_of(&ty.clone().into()));
    let kernel = TextKernel::new(region, text, move |launch| run(launch, &op));
    Ok(kernel.with_workspace(places.mul(&Dim::constant(8))).boxed())
}

/// The sizes of the tensor that was pooled.
fn natural(op: &MaxUnpool, x: &[usize]) -> Option<Sizes> {
    let mut sizes = Sizes::from_slice(x.get(..2)?);
    for (axis, size) in x.iter().skip(2).enumerate() {
        let steps = number(*size).checked_sub(1)?.checked_mul(number(*op.strides.get(axis)?))?;
        let grown = steps.checked_add(number(*op.kernel.get(axis)?))?;
        let cut = grown.checked_sub(*op.begin.get(axis)?)?.checked_sub(*op.end.get(axis)?)?;
        sizes.push(usize::try_from(cut).ok()?);
    }
    Some(sizes)
}

fn run(launch: &mut Launch<'_>, op: &MaxUnpool) -> Result<(), KernelError> {
    let (x, indices, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let mismatch = || KernelError::Data(format!("an output of {:?} does not hold {:?} unpooled", y.sizes, x.sizes));
    let natural = natural(op, x.sizes).ok_or_else(mismatch)?;
    let holds = natural.len() == y.sizes.len() && natural.iter().zip(y.sizes).all(|(own, size)| own <= size);
    if !holds {
        return Err(mismatch());
    }
    if x.sizes != indices.sizes {
        return Err(recipe(format!("indices {:?} of elements {:?}", indices.sizes, x.sizes)));
    }
    let sources = launch.scratch(y.count().saturating_mul(8))?;
    let mut parameters: SmallVec<[u64; 32]> = SmallVec::new();
    let limit: usize = natural.iter().product();
    parameters.extend([y.count(), x.count(), limit, natural.len()].map(|size| size as u64));
    parameters.extend(words(&axes(&natural)).into_iter().chain(words(&axes(&strides(y.sizes)))));
    parameters.extend([x.address, indices.address, y.address, sources, launch.fault]);
    launch.each(CLEAR, y.count(), &parameters)?;
    launch.each(MARK, x.count(), &parameters)?;
    launch.each(PLACE, y.count(), &parameters)
}
