//! The state of lowering: sizes as slots of the shape program, weights, packs, guards, chosen candidates.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sinter_backend::{BackEnd, Recipe, Region, Target};
use sinter_base::Location;
use sinter_ir::WeightExpr;
use sinter_ops::ValueId;
use sinter_plan::{Action, Alias, Graph, PlanValueId, Register, Slot, Storage, WeightId};

use crate::assemble::candidates::Candidates;
use crate::choose::cover::{Costs, Island};
use crate::choose::tuning_database::TuningDatabase;
use crate::error::Unsupported;

/// Sizes of values as slots of the shape program, until the program is finished.
pub(crate) struct Sizes {
    /// Parallel to the graph's values.
    pub(crate) values: Vec<Option<Vec<Slot>>>,
    /// Parallel to the graph's steps: the slots of each kernel, the general one last.
    pub(crate) kernels: Vec<Vec<KernelSlots>>,
    /// Parallel to the graph's steps: the sizes of the bodies inside.
    pub(crate) bodies: Vec<Vec<Sizes>>,
    /// Aliases.
    pub(crate) aliases: Vec<(PlanValueId, AliasSlots)>,
    /// Values whose elements are sizes.
    pub(crate) registers: Vec<(PlanValueId, Vec<Slot>)>,
}

/// The rows of an alias, as slots of the shape program.
#[derive(Clone, Copy)]
pub(crate) struct AliasSlots {
    pub(crate) base: PlanValueId,
    pub(crate) offset: Slot,
    pub(crate) inner: Slot,
    pub(crate) step: Slot,
}

/// Sizes that a kernel of a step depends on, as slots of the shape program.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelSlots {
    pub(crate) workspace: Option<Slot>,
    /// Pairs of slots that must be equal.
    pub(crate) guards: Vec<(Slot, Slot)>,
}

impl Sizes {
    /// Writes the finished registers into the graph.
    pub(crate) fn resolve(&self, graph: &mut Graph, register: &dyn Fn(Slot) -> Register) {
        for (value, slots) in graph.values.iter_mut().zip(&self.values) {
            value.sizes = slots.as_ref().map(|slots| slots.iter().map(|s| register(*s)).collect());
        }
        for (id, alias) in &self.aliases {
            let AliasSlots { base, offset, inner, step } = *alias;
            let alias = Alias { base, offset: register(offset), inner: register(inner), step: register(step) };
            graph.values[id.index()].storage = Storage::Alias(alias);
        }
        for (id, slots) in &self.registers {
            graph.values[id.index()].storage = Storage::Registers(slots.iter().map(|slot| register(*slot)).collect());
        }
        for ((step, kernels), bodies) in graph.steps.iter_mut().zip(&self.kernels).zip(&self.bodies) {
            match &mut step.action {
                Action::Launch(launch) => {
                    for (variant, slots) in launch.variants_mut().zip(kernels) {
                        variant.workspace = slots.workspace.map(register);
                        variant.guards = slots.guards.iter().map(|(a, b)| (register(*a), register(*b))).collect();
                    }
                }
                Action::Alias { .. } | Action::Copy | Action::Sync => {}
                Action::Control { graphs, .. } => {
                    graphs.iter_mut().zip(bodies).for_each(|(graph, sizes)| sizes.resolve(graph, register));
                }
            }
        }
    }
}

/// State of lowering.
pub(crate) struct Lowering<'a> {
    pub(crate) back_end: &'a dyn BackEnd,
    pub(crate) target: &'a Target,
    pub(crate) database: &'a TuningDatabase,
    /// May several operators be one region, in a layout of its own?
    pub(crate) may_join: bool,
    /// May values be aliases of other buffers?
    pub(crate) may_alias: bool,
    /// Sizes that are known before the next step: the named sizes of inputs, and those that earlier steps told.
    pub(crate) known: BTreeSet<String>,
    /// The sizes that earlier steps told.
    pub(crate) told: BTreeSet<String>,
    /// Number of steps that read sizes.
    pub(crate) syncs: usize,
    /// The weight behind an input of the body that is being lowered.
    pub(crate) weights: HashMap<ValueId, WeightId>,
    /// The expression of each weight; layouts add some.
    pub(crate) expressions: Vec<Arc<WeightExpr>>,
    /// Weights to be packed: the pack of index n is weight [`PACKED`] + n until all weights have their final index.
    pub(crate) packs: Vec<Pack>,
    /// The island, for operators without a kernel of the plan's own back end.
    pub(crate) island: Option<Island<'a>>,
    /// Nodes that run on the island.
    pub(crate) on_island: Vec<Location>,
    /// Is the body inside of control flow? Such a body may never run.
    pub(crate) is_inside: bool,
    /// Sizes that must be equal; otherwise the run ends with an error.
    pub(crate) guards: Vec<(Slot, Slot, String)>,
    pub(crate) unsupported: Vec<Unsupported>,
    /// The chosen candidates.
    pub(crate) candidates: Candidates,
    /// Expected time of the cover of the outermost body.
    pub(crate) costs: Costs,
    /// Dequantizations of weights that the plan computes in advance.
    pub(crate) dequantized: Vec<Location>,
}

/// A weight to be packed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pack {
    pub(crate) weight: WeightId,
    pub(crate) operand: usize,
    pub(crate) recipe: Recipe,
    pub(crate) region: Region,
}

/// Weights from this index on are packed ones, until the plan's weights have their final index.
pub(crate) const PACKED: usize = 1 << 31;
