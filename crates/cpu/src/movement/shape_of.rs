//! `cpu.movement.shape`: the sizes of a tensor as a tensor. Nothing is read.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::movement::Shape;

use crate::arguments::result;
use crate::launch::{Kernel, Launch, Loaded, Operand};
use crate::movement::takes_views;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const SHAPE: Row = Row {
    name: "cpu.movement.shape",
    roots: &[OpKind::Shape],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Shape);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(ShapeKernel { op: op.clone() })))
}

struct ShapeKernel {
    op: Shape,
}

impl Kernel for ShapeKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let Some(Operand::View(x)) = launch.inputs.first().copied() else { refuse_data!("the operand is missing") };
        let rank = i64::try_from(x.sizes().len()).unwrap_or(i64::MAX);
        let position = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(at.clamp(0, rank)).unwrap_or(0)
        };
        let (start, end) = (position(self.op.start), position(self.op.end.unwrap_or(rank)));
        let part = &x.sizes()[start.min(end)..end];
        let mut y = result(&mut launch.outputs[0], &[part.len()])?;
        for (entry, &size) in y.elements::<i64>().iter_mut().zip(part) {
            *entry = i64::try_from(size).unwrap_or(i64::MAX);
        }
        Ok(())
    }
}
