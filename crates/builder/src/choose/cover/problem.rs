//! The problem of covering a body, and its solution.

use std::sync::Arc;

use sinter_backend::{BackEnd, Candidate, GraphView, Region, Target};
use sinter_base::{DataType, ValueType};
use sinter_ir::WeightExpr;
use sinter_ops::{Body, ValueId};

use crate::choose::cover::folding::Folding;
use crate::choose::tuning_database::TuningDatabase;

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
    pub(crate) fn estimate(&self) -> f64 {
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
    /// The groups of the greedy algorithm, which takes the one that saves most first, in their cheapest formats.
    pub by_gain: i64,
    /// The groups that are cheapest without regard to conversions between formats, in their cheapest formats.
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
    /// Is a node's result an alias of its operand in the plan, which costs nothing?
    pub(crate) is_alias: &'a dyn Fn(usize) -> bool,
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

/// The back end of the island.
#[derive(Clone, Copy)]
pub(crate) struct Island<'a> {
    pub(crate) back_end: &'a dyn BackEnd,
    pub(crate) target: &'a Target,
}

/// Can a device's memory hold the value?
pub(crate) fn has_place(ty: &ValueType) -> bool {
    ty.as_tensor().is_some_and(|tensor| tensor.data_type != DataType::String)
}
