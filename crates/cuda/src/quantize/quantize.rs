//! `cuda.quantize.generic`: real values to stored ones, with a scale for the tensor, for each index of an axis or for blocks.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::quantization::Granularity;
use sinter_ops::OpKind;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::quantize::words;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const QUANTIZE: Row = Row {
    name: "cuda.quantize.generic",
    roots: &[OpKind::Quantize],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Quantize);
    refuse_unknown_sizes(region)?;
    let operand = |index| region.input(index).map(|ty| ty.data_type);
    let types = [("X", operand(0)), ("S", operand(1)), ("Y", Some(op.data_type)), ("P", Some(op.precision))];
    let text = Text {
        name: QUANTIZE.name,
        interface: 1,
        generated: format!("{}#define SATURATE {}\n", typedefs(&types)?, op.saturate),
        text: include_str!("quantize.cu"),
        contraction: Contraction::Off,
        entries: &["quantize"],
    };
    let granularity = op.granularity;
    Ok(TextKernel::new(region, text, move |launch| run(launch, granularity)).boxed())
}

/// Launches a kernel from elements and their parameters to as many elements.
pub(crate) fn run(launch: &mut Launch<'_>, granularity: Granularity) -> Result<(), KernelError> {
    let (x, scales, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let zeros = launch.inputs.get(2).copied().flatten();
    if x.sizes != y.sizes || zeros.is_some_and(|zeros| zeros.count() != scales.count()) {
        return Err(recipe(format!("{:?} with {zeros:?} become {:?}", x.sizes, y.sizes)));
    }
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&[y.count() as u64]);
    parameters.extend(words(granularity, x.sizes, scales.sizes)?);
    parameters.extend([x.address, scales.address, launch.address(2), y.address]);
    launch.each(0, y.count(), &parameters)
}
