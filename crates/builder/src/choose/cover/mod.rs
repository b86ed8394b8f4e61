//! The cover: decides which operators become one region, and in which formats each region reads and writes.
//!
//! [`groups`] collects the regions that the back end's proposers name. [`folding`] finds nodes that only process
//! weights; the plan computes them in advance. Each region has [`alternatives`], which differ in the format of each
//! operand and result: plain, or with the channels behind the spatial axes. The tactics offer candidates for every
//! alternative, whose cost is that of the best candidate. [`choice`] takes the cheapest groups of all nodes, single
//! ones included: [`partition`] finds them, exactly where groups hardly overlap, and [`order`] sorts them for
//! execution. A value that one region makes in one format and others read in another costs a conversion, once for each
//! format. [`formats`] finds the cheapest alternatives, exactly where few values interact, by [`eliminate`], else by
//! expansions with a minimum [`cut`] in each; [`search`] finds groups that are cheaper with their conversions.
//! Operators without a kernel run on one of the [`islands`]. [`emit`] makes the steps.

mod alternatives;
mod choice;
mod cut;
mod eliminate;
mod emit;
mod folding;
mod formats;
mod groups;
mod islands;
mod order;
mod partition;
mod repeated;
mod search;

use std::sync::Arc;

use sinter_backend::{BackEnd, Candidate, GraphView, Region, Target};
use sinter_base::ValueType;
use sinter_ir::WeightExpr;
use sinter_ops::{Body, ValueId};

use crate::choose::tuning_database::TuningDatabase;

pub(crate) use crate::choose::cover::folding::Folding;
pub(crate) use crate::choose::cover::islands::Island;

/// The work of a step of the cover.
pub(crate) enum Work {
    /// A kernel computes a region.
    Launch(Region, Candidate),
    /// Control flow: the operator with empty bodies, as a region.
    Control(Region),
    /// A copy of a value to another device.
    Copy {
        /// Expected nanoseconds.
        estimate: f64,
    },
}

impl Work {
    /// Expected nanoseconds.
    fn estimate(&self) -> f64 {
        match self {
            Self::Launch(_, candidate) => candidate.estimate,
            Self::Control(_) => 0.0,
            Self::Copy { estimate } => *estimate,
        }
    }
}

/// A step of the cover with its operands and results.
pub(crate) struct CoverStep {
    pub(crate) work: Work,
    /// Operands by their index in the region.
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<ValueId>,
    /// Positions of its nodes in the body.
    pub(crate) nodes: Vec<usize>,
}

/// See the module documentation.
pub(crate) struct Cover {
    /// Types of all values: first the body's own, then those in other formats.
    pub(crate) types: Vec<ValueType>,
    /// Weights in other formats, and weights that nodes make.
    pub(crate) weights: Vec<(ValueId, Arc<WeightExpr>)>,
    /// Values on the island.
    pub(crate) on_island: Vec<ValueId>,
    /// Values that are known before a run, each with its copy on the island.
    pub(crate) known: Vec<(ValueId, ValueId)>,
    /// Results of the body.
    pub(crate) outputs: Vec<ValueId>,
    /// Steps in execution order.
    pub(crate) steps: Vec<CoverStep>,
    pub(crate) costs: Costs,
}

/// Expected time of the cover and of others, in picoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Every operator by itself.
    pub single: i64,
    /// The groups that are cheapest without regard to conversions between formats.
    pub greedy: i64,
    /// The cover that was chosen.
    pub solved: i64,
    /// The steps that were emitted: equal to `solved`, or the solver's objective does not match the plan.
    pub emitted: i64,
}

/// The problem of covering a body.
pub(crate) struct Problem<'a> {
    pub(crate) body: &'a Body,
    pub(crate) back_end: &'a dyn BackEnd,
    pub(crate) target: &'a Target,
    pub(crate) database: &'a TuningDatabase,
    /// May several operators be one region, in a layout of its own?
    pub(crate) may_join: bool,
    /// Weight behind an input of the body.
    pub(crate) inputs: &'a dyn Fn(ValueId) -> Option<Arc<WeightExpr>>,
    /// Weights that nodes of the body make.
    pub(crate) folding: &'a Folding,
    /// Is a value known before a run, though it is not a weight?
    pub(crate) is_known: &'a dyn Fn(ValueId) -> bool,
    /// The island, for operators without a kernel of the plan's own back end.
    pub(crate) island: Option<Island<'a>>,
    /// Is it a body of control flow?
    pub(crate) is_inside: bool,
}

impl Problem<'_> {
    /// The weight behind a value.
    pub(crate) fn weight(&self, id: ValueId) -> Option<Arc<WeightExpr>> {
        self.folding.expression(id).cloned().or_else(|| (self.inputs)(id))
    }

    /// The body as proposers see it.
    pub(crate) fn graph(&self) -> GraphView<'_> {
        let is_weight = |id| self.folding.expression(id).is_some() || (self.inputs)(id).is_some();
        GraphView::new(self.body, is_weight, self.is_known)
    }
}

/// A node without a kernel, with the refusal of every tactic.
pub(crate) struct UnsupportedNode {
    pub(crate) node: usize,
    pub(crate) refusals: Vec<(String, sinter_backend::Refusal)>,
}

/// Covers all living nodes of a body.
///
/// # Errors
/// All nodes without a kernel.
pub(crate) fn cover(problem: &Problem<'_>) -> Result<Cover, Vec<UnsupportedNode>> {
    let choice::Chosen { scored, labels, costs, islands } = choice::choose(problem, &problem.graph())?;
    let cover = emit::emit(problem, &islands, scored, &labels)?;
    let costs = Costs { emitted: cover.costs.emitted, ..costs };
    Ok(Cover { costs, ..cover })
}
