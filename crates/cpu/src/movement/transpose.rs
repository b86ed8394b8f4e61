//! `cpu.movement.transpose`: axes in another order, as a strided copy.

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::Sizes;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::movement::Transpose;

use crate::arguments::result;
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::rows::walks;
use crate::movement::strided::{Walks, copy};
use crate::movement::takes_views;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const TRANSPOSE: Row = Row {
    name: "cpu.movement.transpose",
    roots: &[OpKind::Transpose],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Transpose);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(TransposeKernel { op: op.clone() })))
}

struct TransposeKernel {
    op: Transpose,
}

impl Kernel for TransposeKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let rank = x.sizes().len();
        let reversed = || (0..rank).rev().collect();
        let permutation: Sizes = self.op.permutation.as_deref().map_or_else(reversed, Sizes::from_slice);
        let mut sorted = permutation.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            refuse_data!("{permutation:?} is no permutation of the axes of sizes {:?}", x.sizes());
        }
        let own = walks(x);
        let axes: Walks = permutation.iter().map(|&axis| own[axis]).collect();
        let sizes: Sizes = axes.iter().map(|a| a.size).collect();
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        copy(launch.workers, x.span_bytes(), element_bytes(x.data_type()), 0, &axes, y.bytes())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        if end == End::Operand(0) { StrideSupport::LastAxis } else { StrideSupport::Contiguous }
    }
}
