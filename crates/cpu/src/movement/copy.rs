//! `cpu.movement.copy`: the same bytes in the same order, for operators that change only the shape.
//!
//! The memory planner makes most of these disappear: operand and result are offered as one buffer.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Operand, Refusal, Region};
use sinter_ops::Op;

use crate::tactic::{Row, Speed};

/// Reshape and its kin.
pub const RESHAPE: Row =
    Row { name: "cpu.movement.copy", numerics: Numerics::Exact, in_place: &[(0, 0)], speed: Speed::STREAMING, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    match region.only().map(|node| &node.op) {
        Some(Op::Reshape(_)) => Ok(Loaded::Views(Box::new(Copy))),
        _ => Err(Refusal::new("takes operators that change only the shape")),
    }
}

struct Copy;

impl Kernel for Copy {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        if let Some(Operand::InPlace(_)) = launch.inputs.first() {
            return Ok(());
        }
        let source = launch.input(0)?;
        let target = launch.output(0).bytes();
        if target.len() != source.bytes().len() {
            return Err(KernelError::Data(format!("{} bytes into {}", source.bytes().len(), target.len())));
        }
        target.copy_from_slice(source.bytes());
        Ok(())
    }
}
