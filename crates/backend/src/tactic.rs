//! Tactics: one algorithm each. First "can you, and how well", as plain data; then "do it".

use std::fmt;

use sinter_base::{Attr, Dim, Tensor};

use crate::device::Device;
use crate::kernel::{KernelError, Loaded};
use crate::region::Region;

/// What stands in for an open size that nobody says more of, where something is estimated.
pub const TYPICAL_SIZE: i64 = 64;

/// Why a tactic does not take a region. Shown by `inspect --explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words, with the numbers.
    pub reason: String,
}

impl Refusal {
    /// A refusal with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
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
    /// Transforms whose error grows with the tile (Winograd, FFT).
    Transformed,
}

/// All that a kernel needs to be loaded again, elsewhere and later: plain, versioned data.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Name of the tactic.
    pub tactic: String,
    /// Tile sizes and the like; [`Attr::Absent`] when there are none.
    pub parameters: Attr,
}

/// One way to compute a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// How to load it.
    pub recipe: Recipe,
    /// Expected time in nanoseconds, from a model of the device.
    pub estimate: f64,
    /// Scratch memory in bytes, as an expression of sizes.
    pub workspace: Dim,
    /// (operand, result) pairs that may share memory.
    pub in_place: Vec<(usize, usize)>,
    /// How far results may differ.
    pub numerics: Numerics,
    /// Weights that the kernel takes as [`Tactic::pack`] makes them.
    pub packed: Vec<usize>,
}

impl Candidate {
    /// A candidate without parameters, scratch memory or in-place pairs.
    pub fn plain(tactic: &dyn Tactic, numerics: Numerics, estimate: f64) -> Self {
        Self {
            recipe: Recipe { tactic: tactic.name().to_owned(), parameters: Attr::Absent },
            estimate,
            workspace: Dim::constant(0),
            in_place: Vec::new(),
            numerics,
            packed: Vec::new(),
        }
    }
}

/// One algorithm.
pub trait Tactic: Send + Sync {
    /// A stable name by the grammar `backend.family.algorithm[.types][.layout][.tile][.tier]`.
    fn name(&self) -> &'static str;

    /// Ways to compute the region on the device.
    ///
    /// # Errors
    /// Why there is none.
    fn offer(&self, region: &Region, device: &Device) -> Result<Vec<Candidate>, Refusal>;

    /// The kernel of a recipe that this tactic offered for this region, maybe long ago on another machine.
    ///
    /// # Errors
    /// When recipe and region do not belong together, or the machine lacks what the recipe needs.
    fn load(&self, recipe: &Recipe, region: &Region, device: &Device) -> Result<Loaded, KernelError>;

    /// A weight in the form that the kernel of this recipe takes it.
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
