//! `cpu.index.non_zero`: the index vectors of all elements that are not zero. Counted first, then written.

use half::{bf16, f16};
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::unravel;
use sinter_base::{DataType, View};
use sinter_ops::OpKind;

use crate::arguments::result;
use crate::elements::{Numbers, load};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer};
use crate::movement::takes_views;
use crate::only_operator;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const NON_ZERO: Row = Row {
    name: "cpu.index.non_zero",
    roots: &[OpKind::NonZero],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, NonZero);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(NonZeroKernel)))
}

struct NonZeroKernel;

/// Flat positions of the elements that are not zero.
fn positions<'r>(x: View<'_>, scratch: &'r Scratch) -> ScratchBuffer<'r, usize> {
    fn of<'r, T: Copy>(values: &[T], scratch: &'r Scratch, set: impl Fn(T) -> bool) -> ScratchBuffer<'r, usize> {
        scratch.list_of(values.len(), (0..values.len()).filter(|&i| set(values[i])))
    }
    match x.data_type() {
        DataType::F32 => of(x.elements::<f32>(), scratch, |v| v != 0.0),
        DataType::F16 => of(x.elements::<f16>(), scratch, |v| v != f16::ZERO),
        DataType::Bf16 => of(x.elements::<bf16>(), scratch, |v| v != bf16::ZERO),
        DataType::I64 => of(x.elements::<i64>(), scratch, |v| v != 0),
        DataType::I32 => of(x.elements::<i32>(), scratch, |v| v != 0),
        DataType::Bool => of(x.bytes(), scratch, |v| v != 0),
        _ => match load(x, scratch) {
            Numbers::Floats(values) => of(&values, scratch, |v| v != 0.0),
            Numbers::Ints(values) => of(&values, scratch, |v| v != 0),
        },
    }
}

impl Kernel for NonZeroKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let found = positions(x, launch.scratch);
        let rank = x.sizes().len();
        let mut y = result(&mut launch.outputs[0], &[rank, found.len()])?;
        let entries = y.elements::<i64>();
        for (column, &position) in found.iter().enumerate() {
            for (axis, &index) in unravel(position, x.sizes()).iter().enumerate() {
                entries[axis * found.len() + column] = i64::try_from(index).unwrap_or(i64::MAX);
            }
        }
        Ok(())
    }
}
