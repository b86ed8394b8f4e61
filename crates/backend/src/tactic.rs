//! Tactics: one algorithm each. They describe their kernels by plain data; a device loads the chosen ones.

use std::fmt;

use sinter_base::{Attr, Dim, Tensor};
use sinter_ops::OpKind;

use crate::code::Code;
use crate::kernel::{End, KernelError, StrideSupport};
use crate::region::Region;
use crate::sizing::Sizing;
use crate::target::Target;

/// The problem that a tactic is offered: a symbolic region, the target and the optimum sizes.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// The computation.
    pub region: &'a Region,
    /// The target.
    pub target: &'a Target,
    /// The optimum sizes.
    pub sizing: &'a Sizing,
}

/// Why a tactic refuses a region. `inspect --explain` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The tactic implements other operators; this reason explains nothing to a user.
    OtherOperator,
    /// A reason in words, with the figures.
    Because(String),
}

impl Refusal {
    /// A refusal with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self::Because(reason.into())
    }

    /// The reason, where it explains something to a user.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::OtherOperator => None,
            Self::Because(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason().unwrap_or("it is for other operators"))
    }
}

/// How far results may differ from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Numerics {
    /// Moves elements, or computes them exactly.
    Exact,
    /// One rounding per operation, in the order of the formula.
    Ordered,
    /// Sums in another order.
    Reassociated,
    /// The same, and values inside of the operator are rounded to the type of its operands: weights of attention.
    Narrowed,
    /// Transforms whose error grows with the tile (Winograd, FFT).
    Transformed,
}

/// The memory that a kernel works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelKind {
    /// Device memory.
    Device,
    /// Whole values on the host: strings, sequences, optionals.
    HostValues,
}

/// All data that is needed to load a kernel again, elsewhere and later: plain and versioned.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Name of the tactic.
    pub tactic: String,
    /// Tile sizes and the like; [`Attr::Absent`] for none.
    pub parameters: Attr,
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parameters {
            Attr::Absent => f.write_str(&self.tactic),
            parameters => write!(f, "{} {parameters}", self.tactic),
        }
    }
}

/// One way to compute a region, with everything that is known before the kernel is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The data to load it.
    pub recipe: Recipe,
    /// Expected time in nanoseconds at the optima, from a model of the target.
    pub estimate: f64,
    /// Scratch memory in bytes, as an expression of sizes.
    pub workspace: Dim,
    /// (operand, result) pairs that may share memory.
    pub in_place: Vec<(usize, usize)>,
    /// How far results may differ.
    pub numerics: Numerics,
    /// Weights that the kernel reads as [`Tactic::pack`] packs them.
    pub packed: Vec<usize>,
    /// Operands and results that may be strided; all others are contiguous.
    pub strided: Vec<(End, StrideSupport)>,
    /// The memory that the kernel works on.
    pub kind: KernelKind,
    /// May a launch be recorded once and replayed: does it depend only on the places and sizes of its arguments?
    pub capturable: bool,
}

impl Candidate {
    /// A candidate without parameters, scratch memory or in-place pairs, for contiguous operands.
    pub fn plain(tactic: &dyn Tactic, numerics: Numerics, estimate: f64) -> Self {
        Self {
            recipe: Recipe { tactic: tactic.name().to_owned(), parameters: Attr::Absent },
            estimate,
            workspace: Dim::constant(0),
            in_place: Vec::new(),
            numerics,
            packed: Vec::new(),
            strided: Vec::new(),
            kind: KernelKind::Device,
            capturable: true,
        }
    }

    /// Which strided views the kernel takes for an operand or a result.
    pub fn stride_support(&self, end: End) -> StrideSupport {
        let found = self.strided.iter().find(|(known, _)| *known == end);
        found.map_or(StrideSupport::Contiguous, |(_, support)| *support)
    }
}

/// One algorithm.
pub trait Tactic: Send + Sync {
    /// A stable name by the grammar `backend.family.algorithm[.types][.layout][.tile][.isa]`.
    fn name(&self) -> &str;

    /// The operator kinds that a region may have as its [`Region::root`]; the builder queries only tactics that name
    /// it.
    fn roots(&self) -> &[OpKind];

    /// Offers the best ways to compute the region, at most `most`, by the tactic's own model. The call is pure and
    /// cheap: it loads and compiles nothing.
    ///
    /// # Errors
    /// Why the tactic refuses the region.
    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal>;

    /// Compiles this recipe for a region to machine code, which a device of the target loads; `None` where the kernel
    /// is part of the program. Only the builder calls it, for recipes that it may choose.
    ///
    /// # Errors
    /// When the compiler is missing or refuses the code.
    fn compile(&self, _recipe: &Recipe, _region: &Region, _target: &Target) -> Result<Option<Code>, KernelError> {
        Ok(None)
    }

    /// Packs a weight as the kernel of this recipe reads it.
    ///
    /// # Errors
    /// When the recipe packs no such operand.
    fn pack(
        &self,
        _recipe: &Recipe,
        _region: &Region,
        operand: usize,
        _weight: &Tensor,
    ) -> Result<Tensor, KernelError> {
        Err(KernelError::Recipe(format!("{} does not pack operand {operand}", self.name())))
    }
}
