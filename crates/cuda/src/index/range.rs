//! `cuda.index.range`: evenly spaced numbers.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_ranks};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const RANGE: Row = Row {
    name: "cuda.index.range",
    roots: &[OpKind::Range],
    numerics: Numerics::Ordered,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    only_operator!(region, Range);
    refuse_unknown_ranks(region)?;
    let text = Text {
        name: RANGE.name,
        interface: 1,
        generated: typedefs(&[("T", region.output(0).map(|ty| ty.data_type))])?,
        text: include_str!("range.cu"),
        contraction: Contraction::Off,
        entries: &["range"],
    };
    Ok(TextKernel::new(region, text, run).boxed())
}

fn run(launch: &mut Launch<'_>) -> Result<(), KernelError> {
    let (start, delta, y) = (launch.input(0)?, launch.input(2)?, launch.output(0)?);
    if start.count() != 1 || delta.count() != 1 {
        return Err(recipe(format!("a range from {:?} by {:?} numbers", start.sizes, delta.sizes)));
    }
    launch.each(0, y.count(), &[y.count() as u64, start.address, delta.address, y.address])
}
