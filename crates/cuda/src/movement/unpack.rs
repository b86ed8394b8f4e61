//! `cuda.movement.unpack`: bytes as the smaller elements that lie packed in them.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel};

/// See the module documentation.
pub const UNPACK: Row = Row {
    name: "cuda.movement.unpack",
    roots: &[OpKind::Unpack],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Unpack);
    refuse_unknown_sizes(region)?;
    let per_byte = op.per_byte().map_err(|error| Refusal::new(error.to_string()))?;
    let text = Text {
        name: UNPACK.name,
        interface: 1,
        generated: format!("#define BITS {}\n#define SIGNED {}\n", op.to.bits(), u8::from(op.to.is_signed_integer())),
        text: include_str!("unpack.cu"),
        contraction: Contraction::Off,
        entries: &["unpack"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, per_byte)).boxed())
}

fn run(launch: &mut Launch<'_>, per_byte: usize) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    if x.count().checked_mul(per_byte) != Some(y.count()) {
        return Err(recipe(format!("{:?} bytes hold no {:?} elements", x.sizes, y.sizes)));
    }
    launch.each(0, y.count(), &[y.count() as u64, x.address, y.address])
}
