//! `cuda.dequantize.generic`: stored values to real ones, with a scale for the tensor, for each index of an axis or for
//! blocks.

use sinter_backend::{Numerics, Refusal, Region};
use sinter_ops::OpKind;

use crate::kernel::{Contraction, Kernel};
use crate::only_operator;
use crate::quantize::quantize::run;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const DEQUANTIZE: Row = Row {
    name: "cuda.dequantize.generic",
    roots: &[OpKind::Dequantize],
    numerics: Numerics::Ordered,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Dequantize);
    refuse_unknown_sizes(region)?;
    let operand = |index| region.input(index).map(|ty| ty.data_type);
    let text = Text {
        name: DEQUANTIZE.name,
        interface: 1,
        generated: typedefs(&[("X", operand(0)), ("S", operand(1)), ("Y", Some(op.data_type))])?,
        text: include_str!("dequantize.cu"),
        contraction: Contraction::Off,
        entries: &["dequantize"],
    };
    let granularity = op.granularity;
    Ok(TextKernel::new(region, text, move |launch| run(launch, granularity)).boxed())
}
