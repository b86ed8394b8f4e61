//! `cpu.matmul.panels.f32`: a matrix product with a weight, packed in panels, and an epilogue.
//!
//! The rows of the left operand, over all leading axes, are rows of one product. See [`crate::product`].

use sinter_backend::{End, Kernel, KernelError, Launch, Loaded, Refusal, Region, Stepped};
use sinter_base::{DataType, Dim, Tensor};
use sinter_ops::Op;
use sinter_ops::matmul::MatMul;

use crate::fused::Fused;
use crate::packed::{Fit, PackedRow, packed_elements, packed_tensor};
use crate::product::epilogue::Plan;
use crate::product::panel::{pack, packed_len};
use crate::product::rows::{Matrix, RowProduct};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const PANELS: PackedRow = PackedRow {
    name: "cpu.matmul.panels.f32",
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    fit,
    pack: pack_weight,
};

fn heavy<'a>(fused: &Fused<'a>) -> Result<&'a MatMul, Refusal> {
    match &fused.node.op {
        Op::MatMul(op) => Ok(op),
        other => Err(Refusal::new(format!("takes MatMul, not {}", other.name()))),
    }
}

fn fit(region: &Region) -> Result<Fit, Refusal> {
    let fused = Fused::of(region)?;
    let op = heavy(&fused)?;
    let missing = || Refusal::new("an operand is no tensor of known rank");
    let (a, b) = (fused.input(0).ok_or_else(missing)?, fused.input(1).ok_or_else(missing)?);
    if a.data_type != DataType::F32 {
        return Err(Refusal::new(format!("element type {} instead of f32", a.data_type)));
    }
    let (a_rank, b_rank) = (a.dims().map_err(|_| missing())?.len(), b.dims().map_err(|_| missing())?.len());
    if op.transpose_a && a_rank > 1 {
        return Err(Refusal::new("the left operand is transposed"));
    }
    if b_rank != 2 || a_rank == 0 {
        return Err(Refusal::new(format!("operands of {a_rank} and {b_rank} axes")));
    }
    let packed = fused.operand(1).ok_or_else(missing)?;
    let a_operand = fused.operand(0).ok_or_else(missing)?;
    let dims = b.dims().map_err(|_| missing())?;
    let columns = if op.transpose_b { &dims[0] } else { &dims[1] };
    let columns = columns.as_constant().and_then(|c| usize::try_from(c).ok()).ok_or_else(missing)?;
    let epilogue = fused.epilogue(None)?;
    let kernel = Loaded::Views(Box::new(Panels { a: a_operand, b: packed, columns, epilogue, tier: Tier::in_use() }));
    Ok(Fit { kernel, packed: vec![packed], workspace: Dim::constant(0), in_place: Vec::new() })
}

fn pack_weight(region: &Region, _: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let wrong = |refusal: Refusal| KernelError::Recipe(refusal.to_string());
    let fused = Fused::of(region).map_err(wrong)?;
    let op = heavy(&fused).map_err(wrong)?;
    let values = weight.elements::<f32>().map_err(|e| KernelError::Data(e.to_string()))?;
    let &[rows, columns] = weight.sizes() else {
        return Err(KernelError::Data(format!("a weight of sizes {:?}", weight.sizes())));
    };
    let packed = if op.transpose_b {
        let mut packed = vec![0.0; packed_len(columns, rows)];
        pack(columns, rows, |k| (&values[k..], columns), &mut packed);
        packed
    } else {
        let mut packed = vec![0.0; packed_len(rows, columns)];
        pack(rows, columns, |k| (&values[k * columns..], 1), &mut packed);
        packed
    };
    packed_tensor(packed)
}

struct Panels {
    a: usize,
    b: usize,
    columns: usize,
    epilogue: Plan,
    tier: Tier,
}

impl Kernel for Panels {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (a, b) = (launch.input(self.a)?, launch.input(self.b)?);
        let inner = a.sizes().last().copied().unwrap_or(1);
        let rows = a.sizes().iter().rev().skip(1).product();
        let sizes = sinter_base::Sizes::from_slice(launch.output(0).sizes());
        let epilogue = self.epilogue.bind(launch, &sizes)?;
        let workers = launch.workers;
        let c = launch.outputs[0].view();
        let missing = || KernelError::Recipe("a part of a matrix whose rows are no rows of it".to_owned());
        let step = c.step_of(self.columns).ok_or_else(missing)?;
        let b = packed_elements(b, packed_len(inner, self.columns))?;
        let a = Matrix { data: a.span(), rows, inner, step: a.step_of(inner).ok_or_else(missing)? };
        RowProduct { a: &a, b, columns: self.columns, step, epilogue: &epilogue }.compute(self.tier, workers, c.span());
        Ok(())
    }

    fn stepped(&self, end: End) -> Stepped {
        self.epilogue.stepped(end, self.a)
    }
}
