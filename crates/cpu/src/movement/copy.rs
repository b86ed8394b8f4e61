//! `cpu.movement.copy`: the same bytes in the same order, for operators that change only the shape or the type.
//!
//! The memory planner removes most of these copies: the candidate offers operand and result as one buffer.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::{Op, OpKind};

use crate::launch::{Kernel, Launch, Loaded, Operand, Output};
use crate::movement::takes_views;
use crate::refuse_data;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// Reshape and its kin.
pub const RESHAPE: Row = Row {
    name: "cpu.movement.copy",
    roots: &[OpKind::Reshape, OpKind::Squeeze, OpKind::Unsqueeze, OpKind::BitCast],
    numerics: Numerics::Exact,
    in_place: &[(0, 0)],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    match region.only().map(|node| &node.op) {
        Some(Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::BitCast(_)) => {}
        _ => return Err(Refusal::OtherOperator),
    }
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(Copy)))
}

struct Copy;

impl Kernel for Copy {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        if let Some(Operand::InPlace(_)) = launch.inputs.first() {
            return Ok(());
        }
        let source = launch.input(0)?;
        let Output::View(target) = &mut launch.outputs[0] else {
            refuse_data!("the new shape of sizes {:?} was never told", source.sizes())
        };
        let (bytes, target) = (source.bytes(), target.bytes());
        if target.len() != bytes.len() {
            refuse_data!("{} bytes into {}", bytes.len(), target.len());
        }
        share(launch.workers, target, 1, Cost::InAll(source.count()), |from, chunk| {
            chunk.copy_from_slice(&bytes[from..from + chunk.len()]);
        });
        Ok(())
    }
}
