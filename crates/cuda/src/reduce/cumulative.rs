//! `cuda.reduce.cumulative`: running sums or products along an axis. A thread goes along a line where neighbouring lines lie
//! side by side or are short, else a warp.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use sinter_ops::reduce::Cumulative;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::Lines;
use crate::movement::moves::{constants, rank_of};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const CUMULATIVE: Row = Row {
    name: "cuda.reduce.cumulative",
    roots: &[OpKind::Cumulative],
    numerics: Numerics::Reassociated,
    speed: Speed::SCATTERED,
    kernel,
};

const BY_THREAD: usize = 0;
const BY_WARP: usize = 1;

/// Lines of this many elements are worth a warp.
const WORTH_A_WARP: usize = 32;
/// So many lines side by side are enough work for a thread each.
const ENOUGH_LINES: usize = 32;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Cumulative).clone();
    refuse_unknown_sizes(region)?;
    let [axis] = constants(region, 1, Vec::new)?[..] else { return Err(Refusal::new("takes one axis")) };
    let axis = axis_of(axis, rank_of(region)?).map_err(|error| Refusal::new(error.to_string()))?;
    let element = typedefs(&[("T", region.input(0).map(|ty| ty.data_type))])?;
    let text = Text {
        name: CUMULATIVE.name,
        interface: 1,
        generated: format!("{element}#define PRODUCT {}\n", i32::from(op.product)),
        text: include_str!("cumulative.cu"),
        contraction: Contraction::Off,
        entries: &["by_thread", "by_warp"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op, axis)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &Cumulative, axis: usize) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    if x.sizes != y.sizes || axis >= x.sizes.len() {
        return Err(recipe(format!("running results of {:?} along axis {axis} to {:?}", x.sizes, y.sizes)));
    }
    if y.count() == 0 {
        return Ok(());
    }
    let lines = Lines::along(x.sizes, axis);
    let mut parameters: SmallVec<[u64; 8]> = SmallVec::from_slice(&lines.words());
    parameters.extend([u64::from(op.exclusive), u64::from(op.reverse), x.address, y.address]);
    match lines.length < WORTH_A_WARP || lines.inner >= ENOUGH_LINES {
        true => launch.each(BY_THREAD, lines.outer * lines.inner, &parameters),
        false => launch.each(BY_WARP, lines.outer * lines.inner * 32, &parameters),
    }
}
