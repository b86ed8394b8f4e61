//! `cuda.norm.local_response`: each element divided by the squares of the neighbouring channels.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::norm::LocalResponseNormalization;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::Lines;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const LOCAL_RESPONSE: Row = Row {
    name: "cuda.norm.local_response",
    roots: &[OpKind::LocalResponseNormalization],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, LocalResponseNormalization).clone();
    refuse_unknown_sizes(region)?;
    let data_type = region.input(0).map(|ty| ty.data_type);
    if op.size == 0 || !data_type.is_some_and(DataType::is_float) {
        return Err(Refusal::new("takes floats and at least one channel"));
    }
    let text = Text {
        name: LOCAL_RESPONSE.name,
        interface: 1,
        generated: typedefs(&[("T", data_type)])?,
        text: include_str!("local_response.cu"),
        contraction: Contraction::On,
        entries: &["normalize"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &LocalResponseNormalization) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    if x.sizes != y.sizes || x.sizes.len() < 2 {
        return Err(recipe(format!("a normalization of {:?} into {:?}", x.sizes, y.sizes)));
    }
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&Lines::along(x.sizes, 1).words());
    // No more channels than a tensor has.
    let channels = |count: usize| count.min(usize::MAX >> 2) as u64;
    parameters.extend([channels((op.size - 1) / 2), channels(op.size / 2)]);
    parameters.extend([op.alpha / op.size as f64, op.beta, op.bias].map(f64::to_bits));
    parameters.extend([x.address, y.address]);
    launch.each(0, y.count(), &parameters)
}
