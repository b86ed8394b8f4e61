//! A tactic as a row of a table: most kernels need a name, a condition and a constructor.

use std::ops::Range;

use sinter_backend::{
    Candidate, End, KernelError, KernelKind, Numerics, Problem, Recipe, Refusal, Region, Sizing, StrideSupport, Tactic,
};
use sinter_base::ValueType;
use sinter_ops::operator::Cost;
use sinter_ops::{OpKind, Operands, ValueId};

use crate::launch::{HostTactic, Loaded};

/// A tactic for regions of one operator, without parameters.
pub struct Row {
    /// Name by the grammar of tactics.
    pub name: &'static str,
    /// The operators that it computes; see [`Tactic::roots`].
    pub roots: &'static [OpKind],
    /// How far results may differ from the reference.
    pub numerics: Numerics,
    /// (operand, result) pairs that may share memory.
    pub in_place: &'static [(usize, usize)],
    /// Relative speed: nanoseconds per byte moved and per operation done.
    pub speed: Speed,
    /// The kernel for a region, or why there is none.
    pub kernel: fn(&Region) -> Result<Loaded, Refusal>,
}

/// A simple cost model of a kernel on one core, good enough to rank algorithms without timing.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Nanoseconds per byte read or written.
    pub per_byte: f64,
    /// Nanoseconds per arithmetic operation.
    pub per_operation: f64,
}

impl Speed {
    /// Bound by memory.
    pub const STREAMING: Self = Self { per_byte: 0.1, per_operation: 0.0 };
    /// One scalar operation at a time.
    pub const SCALAR: Self = Self { per_byte: 0.1, per_operation: 1.0 };
    /// Wide vectors, operands in registers.
    pub const VECTOR: Self = Self { per_byte: 0.1, per_operation: 0.03 };
}

/// Operations of all operators; bytes of operands and results only, because intermediate values stay in the cache.
pub(crate) fn estimate(region: &Region, sizing: &Sizing, speed: Speed) -> f64 {
    let number = |dim: &sinter_base::Dim| sizing.evaluate(dim).unwrap_or(0).max(0) as f64;
    let body = region.body();
    let (mut operations, mut bytes) = (0.0, 0.0);
    for node in body.nodes() {
        let types: Vec<_> = node.inputs.iter().map(|id: &Option<ValueId>| id.map(|id| body.ty(id))).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        let cost: Cost = node.op.cost(&Operands::new(&types), &outputs);
        operations += number(&cost.operations);
        bytes += number(&cost.bytes);
    }
    if region.only().is_none() {
        let ends = body.input_types().into_iter().chain(body.output_types());
        bytes = ends.map(|ty| bytes_of(&ty, sizing)).sum();
    }
    bytes * speed.per_byte + operations * speed.per_operation
}

/// The same for neighbouring nodes of a region as a step of their own.
pub(crate) fn estimate_part(region: &Region, sizing: &Sizing, nodes: Range<usize>, speed: Speed) -> f64 {
    let number = |dim: &sinter_base::Dim| sizing.evaluate(dim).unwrap_or(0).max(0) as f64;
    let body = region.body();
    let (part, others) = (&body.nodes()[nodes.clone()], body.nodes().iter().enumerate());
    let is_made = |id: &ValueId| part.iter().any(|node| node.outputs.contains(id));
    let mut read: Vec<ValueId> = part.iter().flat_map(|node| node.inputs.iter().flatten().copied()).collect();
    read.sort_unstable();
    read.dedup();
    read.retain(|id| !is_made(id));
    let outside = others.filter(|(at, _)| !nodes.contains(at)).flat_map(|(_, node)| node.inputs.iter().flatten());
    let mut results: Vec<ValueId> = outside.chain(body.outputs()).copied().filter(is_made).collect();
    results.sort_unstable();
    results.dedup();
    let bytes: f64 = read.iter().chain(&results).map(|id| bytes_of(body.ty(*id), sizing)).sum();
    let operations = part.iter().map(|node| {
        let types: Vec<_> = node.inputs.iter().map(|id: &Option<ValueId>| id.map(|id| body.ty(id))).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        number(&node.op.cost(&Operands::new(&types), &outputs).operations)
    });
    bytes * speed.per_byte + operations.sum::<f64>() * speed.per_operation
}

/// Bytes of a value at the optimum sizes.
pub(crate) fn bytes_of(ty: &ValueType, sizing: &Sizing) -> f64 {
    let count = sizing.evaluate(&sinter_ops::operator::count_of(ty)).unwrap_or(0).max(0) as f64;
    count * ty.data_type().bits() as f64 / 8.0
}

/// Nanoseconds that a step saves if it keeps a value of so many bytes in blocks near the core, where two steps would
/// write and read it: by the nearest cache of a typical server core that holds all of it. Measured; see
/// `docs/performance/cpu.md`.
pub(crate) fn spared(bytes: f64) -> f64 {
    const SECOND_LEVEL: f64 = (512 << 10) as f64;
    const THIRD_LEVEL: f64 = (16 << 20) as f64;
    let per_byte = match bytes {
        near if near <= SECOND_LEVEL => 0.0,
        far if far <= THIRD_LEVEL => 0.005,
        _ => 0.05,
    };
    2.0 * bytes * per_byte
}

/// Copies properties of the kernel to its candidate.
pub(crate) fn describe(candidate: &mut Candidate, region: &Region, kernel: &Loaded) {
    // Random numbers depend on the seed of the run.
    candidate.capturable = !region.body().nodes().iter().any(|node| node.op.effects().random);
    match kernel {
        Loaded::Values(_) => {
            (candidate.kind, candidate.capturable) = (KernelKind::HostValues, false);
        }
        Loaded::Kernel(kernel) => {
            let operands = (0..region.operand_count()).map(End::Operand);
            let ends = operands.chain((0..region.body().outputs().len()).map(End::Result));
            let strided = ends.map(|end| (end, kernel.stride_support(end)));
            candidate.strided = strided.filter(|(_, support)| *support != StrideSupport::Contiguous).collect();
        }
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
        let estimate = estimate(problem.region, problem.sizing, self.speed);
        let mut candidate = Candidate::plain(self, self.numerics, estimate);
        candidate.in_place = self.in_place.to_vec();
        describe(&mut candidate, problem.region, &kernel);
        Ok(vec![candidate])
    }
}

impl HostTactic for Row {
    fn load(&self, _recipe: &Recipe, region: &Region) -> Result<Loaded, KernelError> {
        (self.kernel)(region).map_err(|refusal| KernelError::Recipe(format!("{}: {refusal}", self.name)))
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
