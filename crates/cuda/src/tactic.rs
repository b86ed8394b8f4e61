//! A tactic as a row of a table: most kernels need a name, a condition and a constructor.

use sinter_backend::{
    Candidate, Code, End, KernelError, Numerics, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::{DataType, Dim};
use sinter_ops::operator::{Cost, count_of};
use sinter_ops::{OpKind, Operands, ValueId};

use crate::compile::compile;
use crate::kernel::Kernel;

/// A tactic whose kernels run on the device.
pub trait CudaTactic: Tactic {
    /// The kernel of a recipe that this tactic offered for this region, possibly on another machine.
    ///
    /// # Errors
    /// When the recipe does not fit the region.
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal>;
}

/// A tactic for regions of one operator, without parameters.
pub struct Row {
    /// Name by the grammar of tactics.
    pub name: &'static str,
    /// The operators that it computes; see [`Tactic::roots`].
    pub roots: &'static [OpKind],
    /// How far results may differ from the reference.
    pub numerics: Numerics,
    /// Relative speed.
    pub speed: Speed,
    /// The kernel for a region, or why there is none.
    pub kernel: fn(&Region) -> Result<Box<dyn Kernel>, Refusal>,
}

/// A simple cost model of a kernel, good enough to rank algorithms without timing.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Share of the memory's bandwidth.
    pub bandwidth: f64,
    /// Share of the peak without tensor cores.
    pub arithmetic: f64,
    /// Launches of a call.
    pub launches: f64,
}

impl Speed {
    /// Bound by memory, one launch.
    pub const STREAMING: Self = Self { bandwidth: 0.7, arithmetic: 0.2, launches: 1.0 };
    /// Accesses in an order that wastes bandwidth.
    pub const SCATTERED: Self = Self { bandwidth: 0.2, arithmetic: 0.1, launches: 1.0 };
    /// A product without tensor cores.
    pub const PRODUCT: Self = Self { bandwidth: 0.5, arithmetic: 0.3, launches: 1.0 };
}

/// Nanoseconds of a launch in a recorded graph, measured on an H200 as 700 and more between dependent kernels.
pub(crate) const LAUNCH: f64 = 1_500.0;

/// Nanoseconds at the optima: the larger of the times that memory and arithmetic take, and the launches.
pub(crate) fn estimate(problem: &Problem<'_>, speed: Speed) -> f64 {
    let number = |dim: &Dim| problem.sizing.evaluate(dim).unwrap_or(0).max(0) as f64;
    let body = problem.region.body();
    let mut operations = 0.0;
    for node in body.nodes() {
        let types: Vec<_> = node.inputs.iter().map(|id: &Option<ValueId>| id.map(|id| body.ty(id))).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        let cost: Cost = node.op.cost(&Operands::new(&types), &outputs);
        operations += number(&cost.operations);
    }
    let ends = || body.input_types().into_iter().chain(body.output_types());
    let bytes: f64 = ends().map(|ty| number(&count_of(&ty)) * ty.data_type().bits().div_ceil(8) as f64).sum();
    let is_double = ends().any(|ty| ty.data_type() == DataType::F64);
    let peak = problem.target.peak(if is_double { DataType::F64 } else { DataType::F32 }).unwrap_or(1e11);
    let bandwidth = if problem.target.bytes_per_second > 0.0 { problem.target.bytes_per_second } else { 1e12 };
    let units = problem.target.units.max(1) as f64;
    let seconds = (bytes / (bandwidth * speed.bandwidth)).max(operations / (peak * units * speed.arithmetic));
    seconds * 1e9 + LAUNCH * speed.launches
}

/// At most so many of these candidates, the cheapest first.
pub(crate) fn cheapest(candidates: impl Iterator<Item = Candidate>, most: usize) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = candidates.collect();
    candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
    candidates.truncate(most);
    candidates
}

/// Copies the properties of a kernel to its candidate.
pub(crate) fn describe(candidate: &mut Candidate, region: &Region, kernel: &dyn Kernel) {
    let operands = (0..region.operand_count()).map(End::Operand);
    let ends = operands.chain((0..region.body().outputs().len()).map(End::Result));
    let strided = ends.map(|end| (end, kernel.stride_support(end)));
    candidate.workspace = kernel.workspace();
    candidate.in_place = kernel.in_place().to_vec();
    // Recorded work would repeat its random numbers.
    candidate.capturable = !kernel.takes_seed();
    candidate.strided = strided.filter(|(_, support)| *support != StrideSupport::Contiguous).collect();
}

/// Refuses a region whose kernel would need contents of memory for its sizes: results whose sizes depend on those, and
/// values without a rank.
pub(crate) fn refuse_unknown_sizes(region: &Region) -> Result<(), Refusal> {
    let body = region.body();
    for operand in region.size_operands() {
        let id = match region.only() {
            Some(node) => node.inputs.get(operand).copied().flatten(),
            None => body.inputs().get(operand).copied(),
        };
        let is_known = id.and_then(|id| body.ty(id).as_tensor()).is_some_and(|ty| ty.value.is_some());
        if !is_known {
            return Err(Refusal::new(format!("sizes of results depend on the contents of operand {operand}")));
        }
    }
    refuse_unknown_ranks(region)
}

/// Refuses values without a rank; for kernels that take all sizes from the launch.
pub(crate) fn refuse_unknown_ranks(region: &Region) -> Result<(), Refusal> {
    let types = region.body().input_types().into_iter().chain(region.body().output_types());
    match types.into_iter().find(|ty| ty.as_tensor().is_none_or(|tensor| tensor.dims().is_err())) {
        Some(ty) => Err(Refusal::new(format!("takes tensors of known rank, no {ty}"))),
        None => Ok(()),
    }
}

impl Tactic for Row {
    fn name(&self) -> &str {
        self.name
    }

    fn roots(&self) -> &[OpKind] {
        self.roots
    }

    fn offer(&self, problem: &Problem<'_>, _most: usize) -> Result<Vec<Candidate>, Refusal> {
        let kernel = (self.kernel)(problem.region)?;
        let mut candidate = Candidate::plain(self, self.numerics, estimate(problem, self.speed));
        describe(&mut candidate, problem.region, &*kernel);
        Ok(vec![candidate])
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

/// The machine code of a recipe; [`Tactic::compile`] of every tactic here.
pub(crate) fn compiled(
    tactic: &dyn CudaTactic,
    recipe: &Recipe,
    region: &Region,
    target: &Target,
) -> Result<Option<Code>, KernelError> {
    let kernel = tactic.kernel(recipe, region).map_err(|refusal| refused(tactic.name(), &refusal))?;
    compile(&*kernel, &target.isa).map(Some)
}

/// The error of a recipe that does not fit its region.
pub(crate) fn refused(tactic: &str, refusal: &Refusal) -> KernelError {
    KernelError::Recipe(format!("{tactic}: {refusal}"))
}

impl CudaTactic for Row {
    fn kernel(&self, _recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        (self.kernel)(region)
    }
}

/// The region's only operator, when it is of this kind; for the `kernel` functions of rows.
#[macro_export]
macro_rules! only_operator {
    ($region:expr, $kind:ident) => {
        match $region.only().map(|node| &node.op) {
            Some(sinter_ops::Op::$kind(op)) => op,
            Some(_) => return Err(sinter_backend::Refusal::OtherOperator),
            None => return Err(sinter_backend::Refusal::new("takes one operator at a time")),
        }
    };
}
