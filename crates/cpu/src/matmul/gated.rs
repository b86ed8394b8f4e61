//! `cpu.matmul.gated.f32`: two products of one operand with weights, packed in panels, that meet in a pointwise operator.
//!
//! The gate and the up projection of a feed-forward layer, `silu(x V) * (x W)` say, with or without biases. See
//! [`crate::product::gated`].

use sinter_backend::{End, KernelError, Problem, Refusal, Region, StrideSupport};
use sinter_base::{Attr, Dim, Sizes, Tensor};
use sinter_ops::OpKind;

use crate::fused::gated::Gated;
use crate::launch::{Kernel, Launch, Loaded};
use crate::matmul::panels::{Branch, block_sizes, branch, no_rows, pack_of_branch, wrong};
use crate::packed::{Fit, PackedRow, packed_elements, packed_once};
use crate::product::blocks::Blocks;
use crate::product::epilogue::{Epilogue, Plan};
use crate::product::gated::GatedProduct;
use crate::product::panel::{WIDTH, packed_len};
use crate::product::rows::{Matrix, RowProduct};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const GATED: PackedRow = PackedRow {
    name: "cpu.matmul.gated.f32",
    roots: &[OpKind::MatMul],
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    extra,
    recipes,
    fit,
    pack: pack_weight,
};

fn recipes(problem: &Problem<'_>) -> Vec<(Attr, f64)> {
    let gated = Gated::of(problem.region).ok();
    block_sizes(problem, gated.as_ref().map(|gated| &gated.products[0]))
}

/// Nanoseconds of a task beside its products: it allocates two buffers.
const TASK: f64 = 250.0;

/// One or two rows leave too little to save.
fn extra(problem: &Problem<'_>, _: Speed) -> f64 {
    let number = |dim: &Dim| problem.sizing.evaluate(dim).unwrap_or(0).max(0) as f64;
    let result = problem.region.output(0).and_then(|ty| ty.dims().ok()).unwrap_or_default();
    let Some((columns, leading)) = result.split_last() else { return 0.0 };
    let Blocks { rows, panels, .. } = Blocks::default();
    let row_blocks = (leading.iter().map(number).product::<f64>() / rows as f64).ceil();
    TASK * row_blocks * (number(columns) / (panels * WIDTH) as f64).ceil()
}

fn fit(region: &Region, parameters: &Attr) -> Result<Fit, Refusal> {
    let blocks = Blocks::of_parameters(parameters).map_err(|e| Refusal::new(e.to_string()))?;
    let gated = Gated::of(region)?;
    let [beside, product] = &gated.products;
    let (beside, product) = (branch(beside)?, branch(product)?);
    if beside.columns != product.columns {
        return Err(Refusal::new("the products have different sizes"));
    }
    let a = gated.products[0].operand(0).ok_or_else(|| Refusal::new("an operand is no tensor of known rank"))?;
    let packed = vec![beside.b, product.b];
    packed_once(&packed)?;
    let program = gated.plan()?;
    let kernel = Loaded::Kernel(Box::new(GatedKernel { a, beside, product, program, blocks, tier: Tier::in_use() }));
    Ok(Fit { kernel, packed, workspace: Dim::constant(0), in_place: Vec::new() })
}

fn pack_weight(region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let gated = Gated::of(region).map_err(wrong)?;
    pack_of_branch(&gated.products, operand, weight)
}

struct GatedKernel {
    a: usize,
    beside: Branch,
    product: Branch,
    program: Plan,
    blocks: Blocks,
    tier: Tier,
}

impl Kernel for GatedKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let a = launch.input(self.a)?;
        let inner = a.sizes().last().copied().unwrap_or(1);
        let rows = a.sizes().iter().rev().skip(1).product();
        let (columns, blocks) = (self.product.columns, self.blocks);
        let b = |branch: &Branch| packed_elements(launch.input(branch.b)?, packed_len(inner, columns));
        let (beside, product) = (b(&self.beside)?, b(&self.product)?);
        let sizes = Sizes::from_slice(launch.output(0).sizes());
        let rest = self.program.bind(launch, &sizes)?.rest;
        let rest = rest.ok_or_else(|| KernelError::Recipe("products that meet in no program".to_owned()))?;
        let a = Matrix { data: a.span(), first: 0, rows, inner, step: a.step_of(inner).ok_or_else(no_rows)? };
        let (workers, scratch) = (launch.workers, launch.scratch);
        let c = launch.outputs[0].view();
        let step = c.step_of(columns).ok_or_else(no_rows)?;
        let of = |b| RowProduct { a: &a, b, columns, step, epilogue: &Epilogue::NONE, blocks };
        let product = GatedProduct { beside: of(beside), product: of(product), rest: &rest, scratch };
        product.compute(self.tier, workers, c.span::<f32>());
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        self.program.stride_support(end, self.a)
    }
}
