//! `cuda.movement.shape_of`: the sizes of a tensor as a tensor, which the launch carries.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::movement::Shape;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::axes;
use crate::only_operator;
use crate::space::{RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel};

/// See the module documentation.
pub const SHAPE_OF: Row = Row {
    name: "cuda.movement.shape_of",
    roots: &[OpKind::Shape],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Shape).clone();
    refuse_unknown_sizes(region)?;
    let text = Text {
        name: SHAPE_OF.name,
        interface: 1,
        generated: String::new(),
        text: include_str!("shape_of.cu"),
        contraction: Contraction::Off,
        entries: &["write"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &Shape) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    let part = op.part(x.sizes);
    if y.sizes != [part.len()] || part.len() > RANK {
        return Err(recipe(format!("{:?} numbers for a part of the sizes {:?}", y.sizes, x.sizes)));
    }
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&[part.len() as u64]);
    parameters.extend(words(&axes(part)));
    parameters.push(y.address);
    launch.each(0, part.len(), &parameters)
}
