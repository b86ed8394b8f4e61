//! `cpu.movement.unpack`: bytes as the smaller elements packed in them, which take a byte each while a network runs.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;

use crate::launch::{Kernel, Launch, Loaded};
use crate::pointwise::column::code_of;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const UNPACK: Row = Row {
    name: "cpu.movement.unpack",
    roots: &[OpKind::Unpack],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Unpack);
    let per_byte = op.per_byte().map_err(|e| Refusal::new(e.to_string()))?;
    Ok(Loaded::Kernel(Box::new(UnpackKernel { per_byte, to: op.to })))
}

struct UnpackKernel {
    per_byte: usize,
    to: DataType,
}

impl Kernel for UnpackKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?.bytes();
        let workers = launch.workers;
        let y = launch.output(0).bytes();
        if y.len() != x.len() * self.per_byte {
            refuse_data!("{} elements out of {} bytes", y.len(), x.len());
        }
        let to = self.to;
        share(workers, y, self.per_byte, Cost::PerElement(1), |from, chunk| {
            for (elements, &byte) in chunk.chunks_exact_mut(self.per_byte).zip(&x[from..]) {
                for (place, element) in elements.iter_mut().enumerate() {
                    *element = code_of(to, i64::from(byte >> (place * to.bits())));
                }
            }
        });
        Ok(())
    }
}
