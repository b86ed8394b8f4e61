//! `cuda.index.tensor_scatter`: a sequence written into a cache, which stays where it is when memory is shared.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::{Lines, without};
use crate::movement::moves::rank_of;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const TENSOR_SCATTER: Row = Row {
    name: "cuda.index.tensor_scatter",
    roots: &[OpKind::TensorScatter],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

const COPY: usize = 0;
const WRITE: usize = 1;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, TensorScatter);
    refuse_unknown_sizes(region)?;
    let axis = axis_of(op.axis, rank_of(region)?).map_err(|error| Refusal::new(error.to_string()))?;
    let positions = region.input(2).map_or(DataType::I64, |ty| ty.data_type);
    let text = Text {
        name: TENSOR_SCATTER.name,
        interface: 1,
        generated: moved_type(region)? + &typedefs(&[("Index", Some(positions))])?,
        text: include_str!("tensor_scatter.cu"),
        contraction: Contraction::Off,
        entries: &["copy", "write"],
    };
    let circular = op.circular;
    Ok(TextKernel::new(region, text, move |launch| run(launch, axis, circular)).in_place(&[(0, 0)]).boxed())
}

fn run(launch: &mut Launch<'_>, axis: usize, circular: bool) -> Result<(), KernelError> {
    let (cache, x, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let fits = cache.sizes == y.sizes
        && axis > 0
        && without(x.sizes, axis) == without(cache.sizes, axis)
        && matches!((x.sizes.get(axis), cache.sizes.get(axis)), (Some(own), Some(capacity)) if own <= capacity);
    let batch = cache.sizes.first().copied().unwrap_or(1);
    if !fits || launch.inputs.get(2).copied().flatten().is_some_and(|positions| positions.sizes != [batch]) {
        return Err(recipe(format!("{:?} is written into a cache {:?}", x.sizes, cache.sizes)));
    }
    let update = Lines::along(x.sizes, axis);
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&update.words());
    let lines = update.outer.checked_div(batch).unwrap_or(1);
    parameters.extend([lines, cache.sizes[axis], usize::from(circular), cache.count()].map(|size| size as u64));
    parameters.extend([cache.address, x.address, launch.address(2), y.address, launch.fault]);
    if cache.address != y.address {
        launch.each(COPY, y.count(), &parameters)?;
    }
    launch.each(WRITE, x.count(), &parameters)
}
