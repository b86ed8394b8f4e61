//! Lowers a network's body to the steps of a plan.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sinter_backend::Region;
use sinter_base::{DataType, Dim, KnownValue, Location, TensorType, ValueType};
use sinter_ops::control::nested::captures;
use sinter_ops::{Body, Effects, InferContext, Op, Operands, ValueId, infer_types};
use sinter_plan::{Action, BufferId, Graph, Place, PlanValue, PlanValueId, ShapeCompiler, Step, Storage, WeightId};

use crate::assemble::aliasing::is_reshape;
use crate::assemble::launch::ChosenRegion;
use crate::assemble::lowering::{Lowering, Sizes};
use crate::choose::cover::{Cover, CoverStep, Folding, Problem, Work, cover};
use crate::error::Unsupported;

/// Limit on the elements of a value in registers.
const MOST_REGISTERS: usize = 64;
/// Limit on the steps that read sizes: each begins a stage with an arena of its own.
const MOST_SYNCS: usize = 32;

impl Lowering<'_> {
    pub(crate) fn is_known(&self, dim: &Dim) -> bool {
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

    /// Will the result of a node be an alias of its operand? Those of reshapes are, but for sizes that only a run knows,
    /// and for results of the network that are inputs too.
    fn is_alias(&self, body: &Body, node: usize) -> bool {
        let node = &body.nodes()[node];
        let (Some(&Some(operand)), &[result]) = (node.inputs.first(), node.outputs.as_slice()) else { return false };
        let is_passed_on = body.inputs().contains(&operand) && body.outputs().contains(&result);
        let are_sized = || [operand, result].iter().all(|id| self.is_sized(body.ty(*id)));
        self.may_alias && !self.is_inside && is_reshape(&node.op) && !is_passed_on && are_sized()
    }

    /// Lowers all living nodes of a body.
    pub(crate) fn lower(&mut self, body: &Body, locations: &[Location], shapes: &mut ShapeCompiler) -> (Graph, Sizes) {
        let registers = self.registers(body);
        let is_known = |id: ValueId| registers.contains_key(&id);
        let body = &with_proved_contents(body, &is_known);
        let expression = |id: ValueId| self.expressions.get(self.weights.get(&id)?.index()).cloned();
        let folding = Folding::of(body, &expression);
        let is_alias = |node: usize| self.is_alias(body, node);
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
            is_alias: &is_alias,
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
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            let outputs: Vec<PlanValueId> = step.outputs.iter().map(|id| plan_id(*id)).collect();
            self.lower_step(body, step, locations, &mut graph, &mut sizes, shapes);
            self.read_sizes(&outputs, steps.as_slice(), &mut graph, &mut sizes, shapes);
        }
        (graph, sizes)
    }

    /// Does a type name sizes that a step tells?
    pub(crate) fn is_told(&self, ty: &ValueType) -> bool {
        let dims = ty.as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default();
        let mut is_told = false;
        dims.iter().for_each(|dim| dim.visit_symbols(&mut |name| is_told |= self.told.contains(name)));
        is_told
    }

    /// Adds a step that reads the sizes of results which only their kernel knows, where the sizes of later results follow
    /// from them: these then have buffers in the arena, and need no inference in a run.
    fn read_sizes(
        &mut self,
        outputs: &[PlanValueId],
        later: &[CoverStep],
        graph: &mut Graph,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) {
        // A loop without iterations makes results of other sizes than its body states.
        let is_launch = graph.steps.last().is_some_and(|step| step.launch().is_some());
        if self.is_inside || !is_launch || self.syncs == MOST_SYNCS {
            return;
        }
        let dims_of = |graph: &Graph, id: &PlanValueId| {
            let ty = graph.values[id.index()].ty.as_tensor().filter(|ty| ty.data_type != DataType::String);
            ty.and_then(|ty| ty.dims().ok().map(<[Dim]>::to_vec))
        };
        let is_dynamic = |id: &&PlanValueId| graph.values[id.index()].storage == Storage::Dynamic;
        let before = self.known.clone();
        let (mut read, mut new) = (Vec::new(), BTreeSet::new());
        for id in outputs.iter().filter(is_dynamic) {
            let Some(dims) = dims_of(graph, id) else { continue };
            let names = dims.iter().filter_map(Dim::as_symbol).filter(|name| !self.known.contains(*name));
            let names: BTreeSet<String> = names.map(str::to_owned).collect();
            let is_free = |dim: &Dim| dim.as_symbol().is_some_and(|name| names.contains(name));
            if dims.iter().all(|dim| is_free(dim) || self.is_known(dim)) {
                read.push(*id);
                self.known.extend(names.iter().cloned());
                new.extend(names);
            }
        }
        let follows = |step: &CoverStep| {
            let Work::Launch(..) = step.work else { return false };
            let reads = step.inputs.iter().flatten().any(|id| read.iter().any(|own| own.index() == id.index()));
            // Results of the network lie in memory of their own.
            let is_inner = |id: &ValueId| {
                self.is_sized(&graph.values[id.index()].ty) && !graph.outputs.contains(&PlanValueId::new(id.index()))
            };
            reads && step.outputs.iter().all(is_inner)
        };
        if read.is_empty() || !later.iter().any(follows) {
            self.known = before;
            return;
        }
        self.syncs += 1;
        self.told.extend(new);
        let to_come: HashSet<usize> = later.iter().flat_map(|step| &step.outputs).map(|id| id.index()).collect();
        let is_read = |at: usize| read.iter().any(|id| id.index() == at);
        for at in (0..graph.values.len()).filter(|at| to_come.contains(at) || is_read(*at)) {
            let ty = &graph.values[at].ty;
            if sizes.values[at].is_none() && self.is_sized(ty) {
                let dims = dims_of(graph, &PlanValueId::new(at)).unwrap_or_default();
                sizes.values[at] = Some(dims.iter().map(|dim| shapes.dim(dim)).collect());
            }
        }
        let origins = graph.steps.last().map(|step| step.origins.clone()).unwrap_or_default();
        let inputs = read.into_iter().map(Some).collect();
        sizes.kernels.push(Vec::new());
        sizes.bodies.push(Vec::new());
        graph.steps.push(Step { action: Action::Sync, inputs, outputs: Vec::new(), origins });
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
                let stated = |id: PlanValueId| graph.values[id.index()].ty.clone();
                let graphs = self.lower_bodies(op, &mut inputs, &stated, &location, sizes, shapes);
                for id in &outputs {
                    sizes.values[id.index()] = None;
                }
                let action = Action::Control { region, graphs };
                graph.steps.push(Step { action, inputs, outputs, origins: origins_text });
                return;
            }
        };
        self.lower_launch(ChosenRegion { region, candidate, inputs, outputs, origins }, graph, sizes, shapes);
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
    pub(crate) fn sizes_are_certain(
        &mut self,
        region: &Region,
        origins: &[Location],
        shapes: &mut ShapeCompiler,
    ) -> bool {
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

    /// The bodies of control flow as graphs; `stated` are the types of values in the plan. A weight that a body captures
    /// becomes a weight of the body's graph, and is no operand of the step any more.
    fn lower_bodies(
        &mut self,
        op: &Op,
        operands: &mut [Option<PlanValueId>],
        stated: &dyn Fn(PlanValueId) -> ValueType,
        location: &Location,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) -> Vec<Graph> {
        let was_inside = std::mem::replace(&mut self.is_inside, true);
        let outer = std::mem::take(&mut self.weights);
        // A body may give a name of its own to sizes that change from one iteration to the next.
        let known = self.known.clone();
        self.known.retain(|name| !self.told.contains(name));
        let (mut graphs, mut inner) = (Vec::new(), Vec::new());
        for (body, (first_input, first_operand)) in op.bodies().into_iter().zip(captures(op)) {
            self.weights = HashMap::new();
            let captured = body.inputs().iter().skip(first_input).zip(operands.iter().skip(first_operand));
            let captured = captured.filter_map(|(id, operand)| Some((*id, stated((*operand)?))));
            let body = &with_stated_contents(body, captured);
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
        (self.is_inside, self.weights, self.known) = (was_inside, outer, known);
        sizes.kernels.push(Vec::new());
        sizes.bodies.push(inner);
        graphs
    }
}

/// The body without contents of captured values that the plan does not state of them.
fn with_stated_contents(body: &Body, captured: impl Iterator<Item = (ValueId, ValueType)>) -> Body {
    let mut stated = body.clone();
    for (id, outer) in captured {
        if contents(stated.ty(id)) != contents(&outer) {
            open_contents(&mut stated, id);
        }
    }
    stated
}

fn contents(ty: &ValueType) -> Option<&KnownValue> {
    ty.as_tensor()?.value.as_deref()
}

/// Removes the contents from the type of a value.
fn open_contents(body: &mut Body, id: ValueId) {
    if let ValueType::Tensor(ty) = body.ty(id) {
        let open = TensorType::new(ty.data_type, ty.shape.clone());
        body.set_type(id, open.into());
    }
}

/// The body without contents that only an evaluation can derive: a plan states only contents that its reader, which
/// evaluates no operator, can prove. Registers prove the contents of values that are known before a run.
fn with_proved_contents(body: &Body, is_known: &dyn Fn(ValueId) -> bool) -> Body {
    let mut proved = body.clone();
    for node in body.nodes() {
        let has_contents = |id: &ValueId| contents(proved.ty(*id)).is_some();
        if !node.outputs.iter().any(has_contents) || node.op.is_control() {
            continue;
        }
        let operands: Vec<Option<&ValueType>> = node.inputs.iter().map(|id| id.map(|id| proved.ty(id))).collect();
        let inferred = infer_types(&node.op, &Operands::new(&operands), &mut InferContext::default());
        let inferred = inferred.unwrap_or_default();
        for (position, id) in node.outputs.iter().enumerate().filter(|(_, id)| !is_known(**id)) {
            if contents(proved.ty(*id)) != inferred.get(position).and_then(contents) {
                open_contents(&mut proved, *id);
            }
        }
    }
    proved
}
