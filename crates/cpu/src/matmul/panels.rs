//! `cpu.matmul.panels.f32`: matrix products with weights, packed in panels, each with an epilogue.
//!
//! The rows of the left operand, over all leading axes, are the rows of one product. The kernel computes sibling
//! products of one left operand in one dispatch, and applies a pointwise prologue to its rows. See [`crate::product`].

use sinter_backend::{End, KernelError, Problem, Refusal, Region, StrideSupport};
use sinter_base::{Attr, DataType, Dim, Tensor};
use sinter_ops::matmul::MatMul;
use sinter_ops::{Op, OpKind};
use smallvec::SmallVec;

use crate::fused::{Fused, FusedGroup, FusedPrologue, of_weight};
use crate::launch::{Kernel, Launch, Loaded, Output};
use crate::packed::{Fit, PackedRow, no_extra, packed_elements, packed_once, packed_tensor};
use crate::product::batched::{MadeRows, Prologue, compute};
use crate::product::blocks::{Blocks, Extent, candidates};
use crate::product::epilogue::{Epilogue, Plan};
use crate::product::panel::{pack, packed_len};
use crate::product::rows::{Matrix, RowProduct};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const PANELS: PackedRow = PackedRow {
    name: "cpu.matmul.panels.f32",
    roots: &[OpKind::MatMul],
    speed: Speed { per_byte: 0.1, per_operation: 0.006 },
    extra: no_extra,
    recipes,
    fit,
    pack: pack_weight,
};

pub(crate) fn heavy<'a>(fused: &Fused<'a>) -> Result<&'a MatMul, Refusal> {
    match &fused.node.op {
        Op::MatMul(op) => Ok(op),
        _ => Err(Refusal::OtherOperator),
    }
}

/// Block sizes for the first of the products; its siblings have the same rows.
fn recipes(problem: &Problem<'_>) -> Vec<(Attr, f64)> {
    let group = FusedGroup::of(problem.region).ok();
    block_sizes(problem, group.as_ref().and_then(|group| group.branches.first()))
}

/// Block sizes for a product.
pub(crate) fn block_sizes(problem: &Problem<'_>, product: Option<&Fused<'_>>) -> Vec<(Attr, f64)> {
    let number = |dim: &Dim| problem.sizing.evaluate(dim).unwrap_or(0).max(0) as f64;
    let extent = |fused: &Fused<'_>| {
        let (op, a, b) = (heavy(fused).ok()?, fused.input(0)?.dims().ok()?, fused.input(1)?.dims().ok()?);
        let (inner, leading) = a.split_last()?;
        let columns = if op.transpose_b { b.first()? } else { b.last()? };
        let rows = leading.iter().map(number).product();
        Some(Extent { rows, columns: number(columns), inner: number(inner) })
    };
    let product = product.and_then(extent);
    product.map_or_else(|| vec![(Attr::Absent, 1.0)], |product| candidates(problem, product))
}

fn fit(region: &Region, parameters: &Attr) -> Result<Fit, Refusal> {
    let blocks = Blocks::of_parameters(parameters).map_err(|e| Refusal::new(e.to_string()))?;
    let group = FusedGroup::of(region)?;
    let branches: Vec<Branch> = group.branches.iter().map(branch).collect::<Result<_, _>>()?;
    let a = group.operand().ok_or_else(|| Refusal::new("an operand is no tensor of known rank"))?;
    let packed: Vec<usize> = branches.iter().map(|branch| branch.b).collect();
    packed_once(&packed)?;
    let prologue = group.prologue.as_ref().map(FusedPrologue::plan).transpose()?;
    let kernel = Loaded::Kernel(Box::new(Panels { a, prologue, branches, blocks, tier: Tier::in_use() }));
    Ok(Fit { kernel, packed, workspace: Dim::constant(0), in_place: Vec::new() })
}

/// A product with a weight that is packed.
pub(crate) fn branch(fused: &Fused<'_>) -> Result<Branch, Refusal> {
    let op = heavy(fused)?;
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
    let b_operand = fused.operand(1).ok_or_else(missing)?;
    let dims = b.dims().map_err(|_| missing())?;
    let columns = if op.transpose_b { &dims[0] } else { &dims[1] };
    let columns = columns.as_constant().and_then(|c| usize::try_from(c).ok()).ok_or_else(missing)?;
    Ok(Branch { b: b_operand, columns, epilogue: fused.epilogue(None)? })
}

fn pack_weight(region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let group = FusedGroup::of(region).map_err(wrong)?;
    pack_of_branch(&group.branches, operand, weight)
}

pub(crate) fn wrong(refusal: Refusal) -> KernelError {
    KernelError::Recipe(refusal.to_string())
}

/// The weight of one of these products, in panels.
pub(crate) fn pack_of_branch(branches: &[Fused<'_>], operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let op = of_weight(branches, operand).and_then(heavy).map_err(wrong)?;
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

/// The error for views that [`StrideSupport::LastAxis`] excludes.
pub(crate) fn no_rows() -> KernelError {
    KernelError::Recipe("a buffer alias whose rows are no rows of the matrix".to_owned())
}

struct Panels {
    a: usize,
    prologue: Option<Plan>,
    branches: Vec<Branch>,
    blocks: Blocks,
    tier: Tier,
}

/// One of the sibling products.
pub(crate) struct Branch {
    /// The operand that is the packed weight.
    pub(crate) b: usize,
    pub(crate) columns: usize,
    pub(crate) epilogue: Plan,
}

/// A product, and the memory of its result.
type Product<'p, 'a> = (RowProduct<'p, 'a, Matrix<'a>>, &'p mut [f32]);

/// The right operands and epilogues of sibling products in a launch.
pub(crate) struct BoundBranches<'a> {
    branches: &'a [Branch],
    bound: SmallVec<[(&'a [f32], Epilogue<'a>); 4]>,
}

impl<'a> BoundBranches<'a> {
    /// No products yet.
    pub(crate) fn of(branches: &'a [Branch]) -> Self {
        Self { branches, bound: SmallVec::new() }
    }

    /// Binds the products, whose left operand has `inner` columns. The operands are stored where they stay: moving them costs
    /// as much as a small product.
    ///
    /// # Errors
    /// Operands that do not fit the products.
    pub(crate) fn bind<'b: 'a>(&mut self, inner: usize, launch: &Launch<'a, 'b>) -> Result<(), KernelError> {
        for (branch, output) in self.branches.iter().zip(launch.outputs.iter()) {
            let b = packed_elements(launch.input(branch.b)?, packed_len(inner, branch.columns))?;
            self.bound.push((b, branch.epilogue.bind(launch, output.sizes())?));
        }
        Ok(())
    }

    /// The products of `a`, each with the result that it computes.
    ///
    /// # Errors
    /// Results whose rows are no rows of the matrix.
    pub(crate) fn products<'p, 'o>(
        &'p self,
        a: &'p Matrix<'a>,
        blocks: Blocks,
        outputs: &'p mut [Output<'o>],
    ) -> Result<SmallVec<[Product<'p, 'a>; 4]>, KernelError> {
        let mut products = SmallVec::new();
        for ((branch, (b, epilogue)), target) in self.branches.iter().zip(&self.bound).zip(outputs.iter_mut()) {
            let c = target.view();
            let step = c.step_of(branch.columns).ok_or_else(no_rows)?;
            products.push((RowProduct { a, b, columns: branch.columns, step, epilogue, blocks }, c.span::<f32>()));
        }
        Ok(products)
    }
}

impl Kernel for Panels {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let a = launch.input(self.a)?;
        let inner = a.sizes().last().copied().unwrap_or(1);
        let rows = a.sizes().iter().rev().skip(1).product();
        let mut branches = BoundBranches::of(&self.branches);
        branches.bind(inner, launch)?;
        let prologue = self.prologue.as_ref().map(|plan| Prologue::bind(plan, self.a, launch)).transpose()?;
        let a = Matrix { data: a.span(), first: 0, rows, inner, step: a.step_of(inner).ok_or_else(no_rows)? };
        let products = branches.products(&a, self.blocks, launch.outputs)?;
        let made = prologue.as_ref().map(|prologue| prologue as &dyn MadeRows);
        compute(products.into_iter(), made, self.tier, launch.workers);
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match (&self.branches[..], end) {
            ([branch], _) if self.prologue.is_none() => branch.epilogue.stride_support(end, self.a),
            (_, End::Result(_)) => StrideSupport::LastAxis,
            (_, End::Operand(operand)) if operand == self.a => StrideSupport::LastAxis,
            (_, End::Operand(_)) => StrideSupport::Contiguous,
        }
    }
}
