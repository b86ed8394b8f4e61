//! `cpu.norm.rows.f32`: normalization of contiguous rows with a pointwise epilogue.
//!
//! The kernel measures and scales a row and applies the epilogue while the row is in the nearest cache: layer
//! normalization with its scale and shift, for example. See `normalize.rs` for how rows are measured.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes};
use sinter_ops::{Op, OpKind};

use crate::fused::Fused;
use crate::launch::{Kernel, Launch, Loaded};
use crate::norm::normalize::{NormalizeKernel, scale};
use crate::product::epilogue::{Plan, Rest};
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// See the module documentation.
pub const ROWS: Row = Row {
    name: "cpu.norm.rows.f32",
    roots: &[OpKind::Normalize],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let fused = Fused::of(region)?;
    let Op::Normalize(op) = &fused.node.op else {
        return Err(Refusal::OtherOperator);
    };
    let Some(epilogue) = fused.epilogue_program()? else { return Err(Refusal::new("no epilogue")) };
    if fused.input(0).map(|t| t.data_type) != Some(DataType::F32) {
        return Err(Refusal::new("another element type than f32"));
    }
    let rank = fused.product_dims().len();
    let mut axes = op.axes.iter().map(|&axis| sinter_ops::axes::axis_of(axis, rank)).collect::<Result<Vec<_>, _>>();
    if let Ok(axes) = &mut axes {
        axes.sort_unstable();
    }
    match axes {
        Ok(axes) if op.groups.is_none() && !axes.is_empty() && axes.iter().copied().eq(rank - axes.len()..rank) => {
            let x = fused.operand(0).ok_or_else(|| Refusal::new("no operand"))?;
            let normalize = NormalizeKernel { op: op.clone() };
            Ok(Loaded::Kernel(Box::new(Rows { x, axes: axes.len(), normalize, epilogue, tier: Tier::in_use() })))
        }
        _ => Err(Refusal::new("other axes than the last ones, or parts of one, are normalized together")),
    }
}

/// Measures and scales a row.
pub(super) fn normalize_row(normalize: &NormalizeKernel, source: &[f32], row: &mut [f32]) {
    let measured = normalize.row(source);
    scale(row, Some(source), measured.shift as f32, measured.scale as f32);
}

struct Rows {
    x: usize,
    /// How many of the last axes are normalized.
    axes: usize,
    normalize: NormalizeKernel,
    epilogue: Plan,
    tier: Tier,
}

impl Kernel for Rows {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(self.x)?.elements::<f32>();
        let sizes = Sizes::from_slice(launch.output(0).sizes());
        let columns = sizes.last().copied().unwrap_or(1);
        let length = sizes[sizes.len() - self.axes..].iter().product::<usize>();
        let epilogue = self.epilogue.bind(launch, &sizes)?.rest;
        let workers = launch.workers;
        let y = launch.output(0).elements::<f32>();
        if y.is_empty() {
            return Ok(());
        }
        share(workers, y, length, Cost::PerElement(4), |first, rows| {
            let mut columns_scratch = epilogue.as_ref().map(Rest::columns);
            for (i, row) in rows.chunks_exact_mut(length).enumerate() {
                let source = &x[(first + i) * length..(first + i + 1) * length];
                normalize_row(&self.normalize, source, row);
                let (Some(epilogue), Some(columns_scratch)) = (&epilogue, &mut columns_scratch) else { continue };
                for (j, part) in row.chunks_exact_mut(columns).enumerate() {
                    epilogue.apply(self.tier, (first + i) * (length / columns) + j, 0, part, columns_scratch);
                }
            }
        });
        Ok(())
    }
}
