//! `cuda.random.fill`: a tensor of random numbers by the Philox 4x32-10 generator, in float64 as the reference computes them.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::random::{Distribution, RandomFill};

use crate::kernel::{Contraction, Kernel, Launch};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_ranks};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const FILL: Row = Row {
    name: "cuda.random.fill",
    roots: &[OpKind::RandomFill],
    numerics: Numerics::Ordered,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, RandomFill).clone();
    refuse_unknown_ranks(region)?;
    let is_normal = matches!(op.distribution, Distribution::Normal { .. });
    let text = Text {
        name: FILL.name,
        interface: 1,
        generated: format!("{}#define NORMAL {is_normal}\n", typedefs(&[("T", Some(op.data_type))])?),
        text: include_str!("fill.cu"),
        contraction: Contraction::Off,
        entries: &["fill"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).with_run_seed().boxed())
}

fn run(launch: &mut Launch<'_>, op: &RandomFill) -> Result<(), KernelError> {
    let y = launch.output(0)?;
    let (seed, launched) = launch.seed;
    let seed = op.seed.map_or(seed, i64::cast_unsigned);
    let (first, second) = match op.distribution {
        Distribution::Uniform { low, high } => (low, high),
        Distribution::Normal { mean, scale } => (mean, scale),
    };
    let count = y.count();
    let stream = launched ^ op.stream as u64;
    let parameters = [count as u64, seed, stream, first.to_bits(), second.to_bits(), y.address];
    launch.each(0, count.div_ceil(4), &parameters)
}
