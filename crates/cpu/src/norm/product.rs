//! `cpu.norm.product.f32`: normalized rows times weights that are packed in panels.
//!
//! The kernel normalizes a block of rows in a scratch buffer, applies the pointwise operator between, and multiplies the
//! block while it is in the cache: the normalized tensor is never stored. Rows are normalized as in `rows.rs`; sibling
//! products and their epilogues are those of [`crate::matmul::panels`].

use std::ops::Range;

use sinter_backend::{End, KernelError, Problem, Refusal, Region, StrideSupport};
use sinter_base::{Attr, DataType, Dim, Tensor};
use sinter_ops::{Op, OpKind};

use crate::fused::normalized::NormalizedGroup;
use crate::launch::{Kernel, Launch, Loaded, Scratch};
use crate::matmul::panels::{BoundBranches, Branch, block_sizes, branch, no_rows, pack_of_branch, wrong};
use crate::norm::normalize::NormalizeKernel;
use crate::norm::rows::{ROWS, normalize_row};
use crate::packed::{Fit, PackedRow, packed_once};
use crate::product::batched::{MadeRows, compute, reserve};
use crate::product::blocks::Blocks;
use crate::product::epilogue::{Plan, Rest};
use crate::product::rows::Matrix;
use crate::tactic::{Speed, bytes_of, estimate, estimate_part, spared};
use crate::tier::Tier;

/// See the module documentation.
pub const PRODUCT: PackedRow = PackedRow {
    name: "cpu.norm.product.f32",
    roots: &[OpKind::Normalize],
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    extra,
    recipes,
    fit,
    pack: pack_weight,
};

fn recipes(problem: &Problem<'_>) -> Vec<(Attr, f64)> {
    let group = NormalizedGroup::of(problem.region).ok();
    block_sizes(problem, group.as_ref().and_then(|group| group.branches.first()))
}

/// Two steps, less the traffic of the normalized tensor.
fn extra(problem: &Problem<'_>, speed: Speed) -> f64 {
    let Problem { region, sizing, .. } = *problem;
    let Ok(group) = NormalizedGroup::of(region) else { return 0.0 };
    let (nodes, all) = (group.nodes(), region.body().nodes().len());
    let normalized = estimate_part(region, sizing, 0..nodes, ROWS.speed);
    let products = estimate_part(region, sizing, nodes..all, speed);
    let between = group.branches[0].input(0).map_or(0.0, |ty| bytes_of(&ty.clone().into(), sizing));
    normalized + products - spared(between) - estimate(region, sizing, speed)
}

fn fit(region: &Region, parameters: &Attr) -> Result<Fit, Refusal> {
    let blocks = Blocks::of_parameters(parameters).map_err(|e| Refusal::new(e.to_string()))?;
    let group = NormalizedGroup::of(region)?;
    let Op::Normalize(op) = &group.normalize.op else { return Err(Refusal::OtherOperator) };
    let missing = || Refusal::new("an operand is no tensor of known rank");
    let first = group.branches.first().ok_or_else(missing)?;
    let input = first.input(0).ok_or_else(missing)?;
    let rank = input.dims().map_err(|_| missing())?.len();
    let is_last = |axis: &i64| sinter_ops::axes::axis_of(*axis, rank).is_ok_and(|axis| axis + 1 == rank);
    if op.groups.is_some() || op.statistics.is_some() || op.axes.len() != 1 || !op.axes.iter().all(is_last) {
        return Err(Refusal::new("other axes than the last one are normalized, or statistics are a result"));
    }
    if input.data_type != DataType::F32 {
        return Err(Refusal::new("another element type than f32"));
    }
    let branches: Vec<Branch> = group.branches.iter().map(branch).collect::<Result<_, _>>()?;
    let packed: Vec<usize> = branches.iter().map(|branch| branch.b).collect();
    packed_once(&packed)?;
    let x = group.operand().ok_or_else(missing)?;
    let (normalize, between, tier) = (NormalizeKernel { op: op.clone() }, group.plan()?, Tier::in_use());
    let kernel = Loaded::Kernel(Box::new(NormProduct { x, normalize, between, branches, blocks, tier }));
    Ok(Fit { kernel, packed, workspace: Dim::constant(0), in_place: Vec::new() })
}

fn pack_weight(region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let group = NormalizedGroup::of(region).map_err(wrong)?;
    pack_of_branch(&group.branches, operand, weight)
}

struct NormProduct {
    x: usize,
    normalize: NormalizeKernel,
    between: Option<Plan>,
    branches: Vec<Branch>,
    blocks: Blocks,
    tier: Tier,
}

/// The normalized rows.
struct Normalized<'a> {
    normalize: &'a NormalizeKernel,
    /// The elements to normalize, and the distance between rows.
    x: (&'a [f32], usize),
    rows: usize,
    inner: usize,
    between: Option<Rest<'a>>,
    scratch: &'a Scratch,
}

impl MadeRows for Normalized<'_> {
    fn count(&self) -> usize {
        self.rows
    }

    fn inner(&self) -> usize {
        self.inner
    }

    fn scratch(&self) -> &Scratch {
        self.scratch
    }

    fn make(&self, tier: Tier, rows: Range<usize>, made: &mut [f32]) {
        let (x, step) = self.x;
        let mut columns = self.between.as_ref().map(Rest::columns);
        for (row, values) in rows.zip(made.chunks_exact_mut(self.inner.max(1))) {
            normalize_row(self.normalize, &x[row * step..][..self.inner], values);
            if let (Some(between), Some(columns)) = (&self.between, &mut columns) {
                between.apply(tier, row, 0, values, columns);
            }
        }
    }
}

impl Kernel for NormProduct {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(self.x)?;
        let inner = x.sizes().last().copied().unwrap_or(1);
        let rows = x.sizes().iter().rev().skip(1).product();
        let mut branches = BoundBranches::of(&self.branches);
        branches.bind(inner, launch)?;
        let between = match &self.between {
            Some(plan) => plan.bind(launch, x.sizes())?.rest,
            None => None,
        };
        let x_step = x.step_of(inner).ok_or_else(no_rows)?;
        let (scratch, workers) = (launch.scratch, launch.workers);
        reserve(scratch, workers, rows, inner);
        let made =
            Normalized { normalize: &self.normalize, x: (x.span::<f32>(), x_step), rows, inner, between, scratch };
        let a = Matrix { data: &[], first: 0, rows, inner, step: inner };
        let products = branches.products(&a, self.blocks, launch.outputs)?;
        compute(products.into_iter(), Some(&made), self.tier, workers);
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            End::Result(_) => StrideSupport::LastAxis,
            End::Operand(operand) if operand == self.x => StrideSupport::LastAxis,
            End::Operand(_) => StrideSupport::Contiguous,
        }
    }
}
