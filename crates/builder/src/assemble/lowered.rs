//! An unfinished plan: first the kernels chosen for a network, then the weights, computed and packed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sinter_backend::{BackEnd, Target};
use sinter_base::{Dim, Location, TensorType};
use sinter_interp::evaluate_weight;
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{EvalError, ValueId};
use sinter_plan::{
    Action, Graph, Launch, Plan, PlanGuard, PlanValueId, PlanWeight, Port, ShapeCompiler, Slot, Step, Storage, WeightId,
};

use crate::assemble::aliasing::{self, Known, Moved};
use crate::assemble::buffers::assign_buffers;
use crate::assemble::candidates::Candidates;
use crate::assemble::lowering::{Lowering, PACKED, Pack, Sizes};
use crate::choose::cover::{Costs, Island};
use crate::choose::tuning_database::TuningDatabase;
use crate::devices::Devices;
use crate::error::BuildError;
use crate::memory_budget::WeightBudget;
use crate::refittable::{Expressions, is_refittable};
use crate::sizes::{SizeHints, input_symbols};

/// A plan with the sources of its weights.
pub(crate) struct LoweredPlan {
    pub(crate) plan: Plan,
    pub(crate) expressions: Vec<Arc<WeightExpr>>,
    /// The packed weights.
    pub(crate) packs: HashMap<WeightId, Pack>,
    /// The candidates of its steps.
    pub(crate) candidates: Candidates,
    /// The expected time of its cover.
    pub(crate) costs: Costs,
    /// Concatenations, slices and reshapes that move elements.
    pub(crate) moved: Vec<Moved>,
    /// Dequantizations of weights that the plan computes in advance.
    pub(crate) dequantized: Vec<Location>,
    /// Nodes that run on the island.
    pub(crate) on_island: Vec<Location>,
}

/// A network with its kernels chosen, before weights are computed.
pub(crate) struct LoweredGraph {
    target: Target,
    /// The target of the island, if any node runs there.
    island: Option<Target>,
    /// Nodes that run on the island.
    pub(crate) on_island: Vec<Location>,
    graph: Graph,
    candidates: Candidates,
    sizes: Sizes,
    shapes: ShapeCompiler,
    /// Named sizes of inputs.
    known: BTreeSet<String>,
    /// The same, and the names that steps tell the sizes of.
    told: BTreeSet<String>,
    expressions: Vec<Arc<WeightExpr>>,
    packs: Vec<Pack>,
    guards: Vec<(Slot, Slot, String)>,
    costs: Costs,
    moved: Vec<Moved>,
    dequantized: Vec<Location>,
}

impl LoweredGraph {
    pub(crate) fn alias_buffers(&mut self, back_end: &dyn BackEnd, database: &TuningDatabase) {
        let known = Known { sizes: &self.known, back_end, target: &self.target, database };
        let candidates = &mut self.candidates;
        self.moved = aliasing::place(&known, &mut self.graph, candidates, &mut self.sizes, &mut self.shapes);
    }
}

/// Chooses the kernels of a network; several operators may be one region if `may_join`, and values may
/// be aliases of other buffers if `may_alias`.
///
/// # Errors
/// All operators without a kernel.
pub(crate) fn lower(
    network: &Network,
    devices: &Devices<'_>,
    database: &TuningDatabase,
    may_join: bool,
    may_alias: bool,
) -> Result<LoweredGraph, BuildError> {
    database.begin_cover();
    let (back_end, target) = (devices.main.back_end(), devices.main.device().target().clone());
    let island = devices.island.as_ref().map(|kernels| (kernels.back_end(), kernels.device().target().clone()));
    let known = input_symbols(network);
    let weight_ids: HashMap<ValueId, WeightId> =
        network.weights.iter().enumerate().map(|(i, w)| (w.value, WeightId::new(i))).collect();
    let mut shapes = ShapeCompiler::default();
    for name in &known {
        shapes.symbol(name);
    }
    let mut lowering = Lowering {
        back_end,
        target: &target,
        database,
        may_join,
        may_alias,
        known: known.clone(),
        told: BTreeSet::new(),
        syncs: 0,
        weights: weight_ids,
        expressions: network.weights.iter().map(|w| w.expr.clone()).collect(),
        packs: Vec::new(),
        island: island.as_ref().map(|(back_end, target)| Island { back_end: *back_end, target }),
        on_island: Vec::new(),
        is_inside: false,
        guards: Vec::new(),
        unsupported: Vec::new(),
        candidates: Candidates::default(),
        costs: Costs::default(),
        dequantized: Vec::new(),
    };
    let (graph, sizes) = lowering.lower(&network.body, &network.locations, &mut shapes);
    if !lowering.unsupported.is_empty() {
        return Err(BuildError::Unsupported(lowering.unsupported));
    }
    let Lowering { expressions, packs, guards, candidates, costs, dequantized, on_island, known: told, .. } = lowering;
    let island = island.filter(|_| !on_island.is_empty()).map(|(_, target)| target);
    Ok(LoweredGraph {
        target,
        island,
        on_island,
        graph,
        candidates,
        sizes,
        shapes,
        known,
        told,
        expressions,
        packs,
        guards,
        costs,
        moved: Vec::new(),
        dequantized,
    })
}

/// Completes the plan of a network whose kernels are chosen; values may share memory if `may_share`.
///
/// # Errors
/// When a weight cannot be computed, or weights need more memory than is allowed.
pub(crate) fn finish(
    network: &Network,
    lowered: LoweredGraph,
    ranges: &SizeHints,
    devices: &Devices<'_>,
    max_memory: u64,
    may_share: bool,
) -> Result<LoweredPlan, BuildError> {
    let LoweredGraph { target, mut graph, candidates, sizes, mut shapes, told, expressions, packs, guards, .. } =
        lowered;
    let LoweredGraph { costs, moved, dequantized, island, on_island, .. } = lowered;
    // Ranges come first: their messages name the input.
    let of_network = network.guards.iter().map(|g| (g.left.clone(), g.right.clone(), g.reason.clone()));
    let decidable = ranges.guards().chain(of_network).filter(|(a, b, _)| is_over(a, &told) && is_over(b, &told));
    let mut all: Vec<(Slot, Slot, String)> = Vec::new();
    let slots: Vec<_> =
        decidable.map(|(left, right, reason)| (shapes.dim(&left), shapes.dim(&right), reason)).collect();
    for (left, right, reason) in slots.into_iter().chain(guards) {
        if !all.iter().any(|(a, b, _)| (*a, *b) == (left, right)) {
            all.push((left, right, reason));
        }
    }
    let (program, register) = shapes.finish();
    sizes.resolve(&mut graph, &register);
    assign_buffers(&mut graph, may_share);
    let port = |name: &str, value: ValueId| Port {
        name: name.to_owned(),
        value: PlanValueId::new(value.index()),
        default: None,
    };
    let mut plan = Plan {
        name: network.name.clone(),
        target,
        islands: island.into_iter().collect(),
        graph,
        inputs: network.inputs.iter().map(|i| port(&i.name, i.value)).collect(),
        outputs: network.outputs.iter().map(|o| port(&o.name, o.value)).collect(),
        weights: Vec::new(),
        expressions: Vec::new(),
        code: Vec::new(),
        shapes: program,
        guards: all
            .into_iter()
            .map(|(left, right, reason)| PlanGuard { left: register(left), right: register(right), reason })
            .collect(),
        self_test: None,
        report: None,
    };
    let mut numbering = Numbering::new(&expressions, &packs, devices, WeightBudget::new(max_memory));
    numbering.graph(&mut plan.graph)?;
    let Numbering { weights, made, refittable, .. } = numbering;
    plan.weights = weights;
    let mut expressions_of_plan = Expressions::new(&mut plan.weights);
    for (weight, source) in refittable {
        let expression = &expressions[source.index()];
        let failed = |error| BuildError::Weight { name: named(expression, source), source: error };
        plan.expressions.push(expressions_of_plan.add(weight, expression).map_err(failed)?);
    }
    for (port, input) in plan.inputs.iter_mut().zip(&network.inputs) {
        if let Some(tensor) = &input.default {
            port.default = Some(WeightId::new(plan.weights.len()));
            plan.weights.push(PlanWeight::new(input.name.clone(), tensor.clone()));
        }
    }
    let packs = made.into_iter().map(|(number, id)| (id, packs[number].clone())).collect();
    Ok(LoweredPlan { plan, expressions, packs, candidates, costs, moved, dequantized, on_island })
}

fn is_over(dim: &Dim, known: &BTreeSet<String>) -> bool {
    let mut over = true;
    dim.visit_symbols(&mut |name| over &= known.contains(name));
    over
}

/// Evaluates the weights that steps or results still use, packs them where a kernel requires it, and renumbers them.
struct Numbering<'a> {
    expressions: &'a [Arc<WeightExpr>],
    packs: &'a [Pack],
    devices: &'a Devices<'a>,
    budget: WeightBudget,
    weights: Vec<PlanWeight>,
    numbers: HashMap<WeightId, WeightId>,
    /// Weights that a refit may replace, each with its expression.
    refittable: Vec<(WeightId, WeightId)>,
    /// Packs that are done, by their index, as weights of the plan.
    made: Vec<(usize, WeightId)>,
}

impl<'a> Numbering<'a> {
    fn new(
        expressions: &'a [Arc<WeightExpr>],
        packs: &'a [Pack],
        devices: &'a Devices<'a>,
        budget: WeightBudget,
    ) -> Self {
        let (weights, numbers, made, refittable) = (Vec::new(), HashMap::new(), Vec::new(), Vec::new());
        Self { expressions, packs, devices, budget, weights, numbers, refittable, made }
    }

    /// Renumbers the weights of a graph, then those of the bodies of control flow in it.
    fn graph(&mut self, graph: &mut Graph) -> Result<(), BuildError> {
        let mut used: BTreeSet<PlanValueId> = graph.outputs.iter().copied().collect();
        used.extend(graph.steps.iter().flat_map(|s| s.inputs.iter().flatten()).copied());
        let variants = graph.steps.iter().filter_map(Step::launch).flat_map(Launch::variants);
        used.extend(variants.flat_map(|variant| &variant.replaced).map(|(_, id)| *id));
        for (index, value) in graph.values.iter_mut().enumerate() {
            if matches!(value.storage, Storage::Registers(_)) && !used.contains(&PlanValueId::new(index)) {
                value.storage = Storage::Dynamic;
            }
            let Storage::Weight(old) = value.storage else { continue };
            if !used.contains(&PlanValueId::new(index)) {
                // A weight without readers must not stay an input of the outermost graph: a caller would have to give
                // it.
                let is_captured = graph.inputs.contains(&PlanValueId::new(index));
                value.storage = if is_captured { Storage::Input } else { Storage::Dynamic };
                continue;
            }
            let new = self.weight(old)?;
            value.storage = Storage::Weight(new);
            if old.index() >= PACKED {
                let tensor = self.weights[new.index()].tensor();
                value.ty = TensorType::new(tensor.data_type(), tensor.sizes().into()).into();
            }
        }
        for step in &mut graph.steps {
            if let Action::Control { graphs, .. } = &mut step.action {
                graphs.iter_mut().try_for_each(|graph| self.graph(graph))?;
            }
        }
        Ok(())
    }

    fn weight(&mut self, old: WeightId) -> Result<WeightId, BuildError> {
        if let Some(known) = self.numbers.get(&old) {
            return Ok(*known);
        }
        let number = old.index().checked_sub(PACKED);
        let pack = number.and_then(|number| self.packs.get(number));
        let source = pack.map_or(old, |pack| pack.weight);
        let expression = &self.expressions[source.index()];
        let name = named(expression, source);
        let failed = |source: EvalError| BuildError::Weight { name: name.clone(), source };
        self.budget.take(expression, pack.is_some())?;
        let mut tensor = evaluate_weight(expression).map_err(failed)?;
        if let Some(Pack { operand, recipe, region, .. }) = pack {
            let tactic = self.devices.tactic(&recipe.tactic);
            let tactic =
                tactic.ok_or_else(|| failed(EvalError::Invalid(format!("{} does not exist", recipe.tactic))))?;
            let packed = tactic.pack(recipe, region, *operand, &tensor);
            tensor = packed.map_err(|e| failed(EvalError::Invalid(e.to_string())))?;
        }
        let new = WeightId::new(self.weights.len());
        self.numbers.insert(old, new);
        self.made.extend(number.map(|number| (number, new)));
        if is_refittable(expression) {
            self.refittable.push((new, source));
        }
        self.weights.push(PlanWeight::new(name, tensor));
        Ok(new)
    }
}

fn named(expression: &WeightExpr, id: WeightId) -> String {
    name_of(expression).unwrap_or_else(|| format!("weight {}", id.index()))
}

/// The name of the first source with a name.
fn name_of(expression: &WeightExpr) -> Option<String> {
    match expression {
        WeightExpr::Source { name, .. } => Some(name.to_string()).filter(|name| !name.is_empty()),
        WeightExpr::Apply { inputs, .. } => inputs.iter().flatten().find_map(|input| name_of(input)),
    }
}
