//! Lowers a network's body to the steps of a plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sinter_backend::{BackEnd, Candidate, KernelKind, Recipe, Region, Target};
use sinter_base::{DataType, Dim, Location, TensorType, ValueType};
use sinter_ir::WeightExpr;
use sinter_ops::control::nested::captures;
use sinter_ops::{Body, Effects, InferContext, Op, Operands, ValueId, infer_types};
use sinter_plan::{
    Action, Alias, BufferId, Graph, Launch, Place, PlanValue, PlanValueId, Register, ShapeCompiler, Slot, Step,
    Storage, Variant, WeightId,
};

use crate::assemble::candidates::Candidates;
use crate::choose::cover::{Costs, Cover, CoverStep, Folding, Island, Problem, Work, cover};
use crate::choose::select::select_at;
use crate::choose::tuning_database::TuningDatabase;
use crate::error::Unsupported;

/// Limit on the elements of a value in registers.
const MOST_REGISTERS: usize = 64;

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
                Action::Alias { .. } | Action::Copy => {}
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
    /// Sizes that are known before a run: the named sizes of inputs.
    pub(crate) known: &'a BTreeSet<String>,
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

impl Lowering<'_> {
    fn is_known(&self, dim: &Dim) -> bool {
        let mut known = true;
        dim.visit_symbols(&mut |name| known &= self.known.contains(name));
        known
    }

    /// Values that nodes compute from sizes that are known before a run: each of their elements is a register, and no
    /// step makes them.
    fn registers(&self, body: &Body) -> BTreeMap<ValueId, Vec<Dim>> {
        let mut found = BTreeMap::new();
        for node in body.nodes().iter().filter(|node| node.op.effects() == Effects::NONE && !node.op.is_control()) {
            let elements = |id: &ValueId| {
                let tensor = body.ty(*id).as_tensor()?;
                let is_integer = matches!(tensor.data_type, DataType::I64 | DataType::I32);
                let dims = tensor.ints().filter(|dims| is_integer && dims.len() <= MOST_REGISTERS)?;
                let is_known = tensor.shape.sizes().is_some() && dims.iter().all(|dim| self.is_known(dim));
                is_known.then(|| (*id, dims.to_vec()))
            };
            // A node runs if it makes any other result.
            if let Some(all) = node.outputs.iter().map(elements).collect::<Option<Vec<_>>>() {
                found.extend(all);
            }
        }
        found
    }

    fn is_sized(&self, ty: &ValueType) -> bool {
        let Some(tensor) = ty.as_tensor() else { return false };
        tensor.data_type != DataType::String && tensor.dims().is_ok_and(|dims| dims.iter().all(|d| self.is_known(d)))
    }

    /// Lowers all living nodes of a body.
    pub(crate) fn lower(&mut self, body: &Body, locations: &[Location], shapes: &mut ShapeCompiler) -> (Graph, Sizes) {
        let registers = self.registers(body);
        let is_known = |id: ValueId| registers.contains_key(&id);
        let body = &with_proved_contents(body, &is_known);
        let expression = |id: ValueId| self.expressions.get(self.weights.get(&id)?.index()).cloned();
        let folding = Folding::of(body, &expression);
        let problem = Problem {
            body,
            back_end: self.back_end,
            target: self.target,
            database: self.database,
            may_join: self.may_join,
            inputs: &expression,
            folding: &folding,
            is_known: &is_known,
            island: self.island,
            is_inside: self.is_inside,
        };
        let mut graph = Graph::default();
        let mut sizes = Sizes {
            values: Vec::new(),
            kernels: Vec::new(),
            bodies: Vec::new(),
            aliases: Vec::new(),
            registers: Vec::new(),
        };
        let Cover { types, weights, on_island, known, outputs, steps, costs } = match cover(&problem) {
            Ok(cover) => cover,
            Err(unsupported) => {
                for node in unsupported {
                    let location = locations.get(node.node).cloned().unwrap_or_default();
                    let near = node.refusals.into_iter();
                    let near = near.filter_map(|(tactic, refusal)| Some((tactic, refusal.reason()?.to_owned())));
                    let refusals = near.collect();
                    let operator = body.nodes()[node.node].op.name();
                    self.unsupported.push(Unsupported { location, operator, refusals });
                }
                return (graph, sizes);
            }
        };
        if !self.is_inside {
            self.costs = costs;
        }
        for ty in types {
            self.add_value(ty, &mut graph, &mut sizes, shapes);
        }
        for id in body.inputs() {
            graph.values[id.index()].storage = self.weights.get(id).map_or(Storage::Input, |w| Storage::Weight(*w));
        }
        let copies = known.iter().filter_map(|(id, copy)| Some((copy, registers.get(id)?)));
        for (id, dims) in registers.iter().chain(copies) {
            // Their registers follow when the shape program is finished.
            graph.values[id.index()].storage = Storage::Registers(Vec::new());
            let slots = dims.iter().map(|dim| shapes.dim(dim)).collect();
            sizes.registers.push((PlanValueId::new(id.index()), slots));
        }
        on_island.iter().for_each(|id| graph.values[id.index()].place = Place::ISLAND);
        for (id, expression) in weights {
            let weight = WeightId::new(self.expressions.len());
            graph.values[id.index()].storage = Storage::Weight(weight);
            self.weights.insert(id, weight);
            self.expressions.push(expression);
            let position = folding.dequantization(id);
            self.dequantized.extend(position.map(|at| locations.get(at).cloned().unwrap_or_default()));
        }
        let plan_id = |id: ValueId| PlanValueId::new(id.index());
        let is_input = |id: &&ValueId| self.is_inside || !self.weights.contains_key(id);
        graph.inputs = body.inputs().iter().filter(is_input).map(|id| plan_id(*id)).collect();
        graph.outputs = outputs.iter().map(|id| plan_id(*id)).collect();
        for step in steps {
            self.lower_step(body, step, locations, &mut graph, &mut sizes, shapes);
        }
        (graph, sizes)
    }

    fn add_value(
        &self,
        ty: ValueType,
        graph: &mut Graph,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) -> PlanValueId {
        let slots = match ty.as_tensor() {
            Some(tensor) if self.is_sized(&ty) => {
                tensor.dims().ok().map(|dims| dims.iter().map(|d| shapes.dim(d)).collect())
            }
            _ => None,
        };
        sizes.values.push(slots);
        graph.values.push(PlanValue { ty, sizes: None, storage: Storage::Dynamic, place: Place::MAIN });
        PlanValueId::new(graph.values.len() - 1)
    }

    fn lower_step(
        &mut self,
        body: &Body,
        step: CoverStep,
        locations: &[Location],
        graph: &mut Graph,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) {
        let origins: Vec<Location> =
            step.nodes.iter().map(|&node| locations.get(node).cloned().unwrap_or_default()).collect();
        let plan_id = |id: ValueId| PlanValueId::new(id.index());
        let mut inputs: Vec<Option<PlanValueId>> = step.inputs.iter().map(|id| id.map(plan_id)).collect();
        let outputs: Vec<PlanValueId> = step.outputs.iter().map(|id| plan_id(*id)).collect();
        let origins_text = origins.iter().map(Location::to_string).collect();
        let (region, candidate) = match step.work {
            Work::Launch(region, candidate) => (region, candidate),
            Work::Copy { .. } => return self.lower_copy(inputs, outputs, origins_text, graph, sizes),
            Work::Control(region) => {
                let location = origins.first().cloned().unwrap_or_default();
                let op = &body.nodes()[step.nodes[0]].op;
                let graphs = self.lower_bodies(op, &mut inputs, &location, sizes, shapes);
                for id in &outputs {
                    sizes.values[id.index()] = None;
                }
                let action = Action::Control { region, graphs };
                graph.steps.push(Step { action, inputs, outputs, origins: origins_text });
                return;
            }
        };
        if outputs.iter().any(|id| graph.values[id.index()].place == Place::ISLAND) {
            self.on_island.extend(origins.iter().cloned());
        }
        let is_open = |id: &PlanValueId| match graph.values[id.index()].storage {
            Storage::Dynamic => true,
            Storage::Input => sizes.values[id.index()].is_none(),
            Storage::Weight(_) | Storage::Arena(_) | Storage::Alias(_) | Storage::Registers(_) => false,
        };
        let fixed = candidate.kind == KernelKind::Device
            && !inputs.iter().flatten().any(is_open)
            && outputs.iter().all(|id| sizes.values[id.index()].is_some())
            && self.sizes_are_certain(&region, &origins, shapes);
        for id in &outputs {
            if fixed {
                graph.values[id.index()].storage = Storage::Arena(BufferId::new(0));
            } else {
                sizes.values[id.index()] = None;
            }
        }
        let given = inputs.clone();
        for &operand in &candidate.packed {
            inputs[operand] = inputs[operand].map(|id| self.packed(id, operand, &candidate, &region, graph, sizes));
        }
        // Which operands are constant matters for the choice only.
        let plain = Region::new(region.body().clone());
        let others = if fixed { self.for_profiles(&region, &candidate) } else { Vec::new() };
        let mut in_place = if fixed { candidate.in_place.clone() } else { Vec::new() };
        let (mut special, mut slots) = (Vec::new(), Vec::new());
        for (profile, other) in others {
            let mut replaced = Vec::new();
            for (operand, id) in given.iter().enumerate() {
                let Some(mut id) = *id else { continue };
                if other.packed.contains(&operand) {
                    id = self.packed(id, operand, &other, &region, graph, sizes);
                }
                if inputs[operand] != Some(id) {
                    replaced.push((operand, id));
                }
            }
            let guards = self.database.profiles()[profile].hints.guards();
            let guards = guards.map(|(cut, size, _)| (shapes.dim(&cut), shapes.dim(&size))).collect();
            slots.push(KernelSlots { workspace: self.workspace(&other, shapes), guards });
            in_place.retain(|pair| other.in_place.contains(pair));
            self.candidates.insert(&plain, other.clone());
            special.push(Variant { packed: other.packed, replaced, ..Variant::of(other.recipe) });
        }
        slots.push(KernelSlots { workspace: self.workspace(&candidate, shapes), guards: Vec::new() });
        sizes.kernels.push(slots);
        sizes.bodies.push(Vec::new());
        self.candidates.insert(&plain, candidate.clone());
        let general = Variant { packed: candidate.packed, ..Variant::of(candidate.recipe) };
        let action = Action::Launch(Launch { region: plain, in_place, general, special });
        graph.steps.push(Step { action, inputs, outputs, origins: origins_text });
    }

    /// The bytes of scratch memory of a kernel; `None` where they are 0, or known only in a run.
    fn workspace(&self, candidate: &Candidate, shapes: &mut ShapeCompiler) -> Option<Slot> {
        let is_any = candidate.workspace.as_constant() != Some(0);
        (is_any && self.is_known(&candidate.workspace)).then(|| shapes.dim(&candidate.workspace))
    }

    /// The kernels for profiles of sizes after the first one, where they differ from the general kernel.
    fn for_profiles(&self, region: &Region, general: &Candidate) -> Vec<(usize, Candidate)> {
        let mut found: Vec<(usize, Candidate)> = Vec::new();
        for profile in 1..self.database.profiles().len() {
            let best = select_at(region, profile, self.back_end, self.target, self.database);
            let Ok(best) = best else { continue };
            if best.recipe != general.recipe && best.kind == general.kind {
                found.push((profile, best));
            }
        }
        found
    }

    /// A copy to another device; its sizes are known before a run if those of its operand are.
    fn lower_copy(
        &mut self,
        inputs: Vec<Option<PlanValueId>>,
        outputs: Vec<PlanValueId>,
        origins: Vec<String>,
        graph: &mut Graph,
        sizes: &mut Sizes,
    ) {
        let is_sized = |id: &PlanValueId| match graph.values[id.index()].storage {
            Storage::Dynamic => false,
            Storage::Input => sizes.values[id.index()].is_some(),
            Storage::Weight(_) | Storage::Arena(_) | Storage::Alias(_) | Storage::Registers(_) => true,
        };
        let fixed = inputs.iter().flatten().all(is_sized);
        for id in &outputs {
            match fixed {
                true => graph.values[id.index()].storage = Storage::Arena(BufferId::new(0)),
                false => sizes.values[id.index()] = None,
            }
        }
        sizes.kernels.push(Vec::new());
        sizes.bodies.push(Vec::new());
        graph.steps.push(Step { action: Action::Copy, inputs, outputs, origins });
    }

    /// Are the sizes of a region's results certain before the run? A guard decides conditions that inference leaves
    /// open, and sizes that only the network knows. A body may never run, so that it can have no guards.
    fn sizes_are_certain(&mut self, region: &Region, origins: &[Location], shapes: &mut ShapeCompiler) -> bool {
        let mut cx = InferContext::default();
        let Ok(inferred) = region.infer(&region.body().input_types(), &mut cx) else { return false };
        let mut guards: Vec<_> = cx.guards.into_iter().map(|g| (g.left, g.right, g.reason)).collect();
        for (declared, inferred) in region.body().output_types().iter().zip(&inferred) {
            let dims = |ty: &ValueType| ty.as_tensor().and_then(|t| t.dims().ok().map(<[Dim]>::to_vec));
            let (Some(declared), Some(inferred)) = (dims(declared), dims(inferred)) else { return false };
            if declared.len() != inferred.len() {
                return false;
            }
            for (declared, inferred) in declared.into_iter().zip(inferred).filter(|(a, b)| a != b) {
                let at = origins.first().cloned().unwrap_or_default();
                let reason = format!("{at}: a result has the size {inferred}, expected {declared}");
                guards.push((declared, inferred, reason));
            }
        }
        let decidable = guards.iter().all(|(a, b, _)| self.is_known(a) && self.is_known(b));
        if !decidable || self.is_inside && !guards.is_empty() {
            return false;
        }
        for (left, right, reason) in guards {
            let (left, right) = (shapes.dim(&left), shapes.dim(&right));
            if !self.guards.iter().any(|(a, b, _)| (*a, *b) == (left, right)) {
                self.guards.push((left, right, reason));
            }
        }
        true
    }

    /// The value that holds a weight packed for a candidate; equal packs are shared.
    fn packed(
        &mut self,
        id: PlanValueId,
        operand: usize,
        candidate: &Candidate,
        region: &Region,
        graph: &mut Graph,
        sizes: &mut Sizes,
    ) -> PlanValueId {
        let Storage::Weight(weight) = graph.values[id.index()].storage else { return id };
        let pack = Pack { weight, operand, recipe: candidate.recipe.clone(), region: region.clone() };
        let known = self.packs.iter().position(|known| *known == pack);
        let number = known.unwrap_or_else(|| {
            self.packs.push(pack);
            self.packs.len() - 1
        });
        let storage = Storage::Weight(WeightId::new(PACKED + number));
        if let Some(value) = known.and_then(|_| graph.values.iter().position(|value| value.storage == storage)) {
            return PlanValueId::new(value);
        }
        // Packing determines the type later.
        let PlanValue { ty, place, .. } = graph.values[id.index()].clone();
        graph.values.push(PlanValue { ty, sizes: None, storage, place });
        sizes.values.push(None);
        PlanValueId::new(graph.values.len() - 1)
    }

    /// The bodies of control flow as graphs. A weight that a body captures becomes a weight of the body's graph, and is
    /// no operand of the step any more.
    fn lower_bodies(
        &mut self,
        op: &Op,
        operands: &mut [Option<PlanValueId>],
        location: &Location,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) -> Vec<Graph> {
        let was_inside = std::mem::replace(&mut self.is_inside, true);
        let outer = std::mem::take(&mut self.weights);
        let (mut graphs, mut inner) = (Vec::new(), Vec::new());
        for (body, (first_input, first_operand)) in op.bodies().into_iter().zip(captures(op)) {
            self.weights = HashMap::new();
            for (id, operand) in body.inputs().iter().skip(first_input).zip(operands.iter_mut().skip(first_operand)) {
                // A weight whose sizes differ from those that the body declares is an operand like any other value.
                let is_fixed = body.ty(*id).as_tensor().is_some_and(|ty| ty.shape.sizes().is_some());
                if let Some(weight) = operand.and_then(|operand| outer.get(&ValueId::new(operand.index())))
                    && is_fixed
                {
                    self.weights.insert(*id, *weight);
                    *operand = None;
                }
            }
            let (graph, sizes) = self.lower(body, &vec![location.clone(); body.nodes().len()], shapes);
            graphs.push(graph);
            inner.push(sizes);
        }
        (self.is_inside, self.weights) = (was_inside, outer);
        sizes.kernels.push(Vec::new());
        sizes.bodies.push(inner);
        graphs
    }
}

/// The body without contents that only an evaluation can derive: a plan states only contents that its reader, which
/// evaluates no operator, can prove. Registers prove the contents of values that are known before a run.
fn with_proved_contents(body: &Body, is_known: &dyn Fn(ValueId) -> bool) -> Body {
    let mut proved = body.clone();
    for node in body.nodes() {
        let has_contents = |id: &ValueId| proved.ty(*id).as_tensor().is_some_and(|ty| ty.value.is_some());
        if !node.outputs.iter().any(has_contents) || node.op.is_control() {
            continue;
        }
        let operands: Vec<Option<&ValueType>> = node.inputs.iter().map(|id| id.map(|id| proved.ty(id))).collect();
        let inferred = infer_types(&node.op, &Operands::new(&operands), &mut InferContext::default());
        let inferred = inferred.unwrap_or_default();
        for (position, id) in node.outputs.iter().enumerate().filter(|(_, id)| !is_known(**id)) {
            let contents = |ty: &ValueType| ty.as_tensor().and_then(|ty| ty.value.clone());
            if contents(proved.ty(*id)) != inferred.get(position).and_then(contents)
                && let ValueType::Tensor(ty) = proved.ty(*id)
            {
                let open = TensorType::new(ty.data_type, ty.shape.clone());
                proved.set_type(*id, open.into());
            }
        }
    }
    proved
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
