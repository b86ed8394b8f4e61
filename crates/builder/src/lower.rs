//! From a network's body to the steps of a plan.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sinter_backend::{BackEnd, Device, Region};
use sinter_base::{DataType, Dim, Location, ValueType};
use sinter_ops::{Body, InferContext, Node, ValueId};
use sinter_plan::{
    Action, BufferId, Graph, Home, PlanValue, PlanValueId, Register, ShapeCompiler, Slot, Step, WeightId,
};

use crate::error::Unserved;
use crate::select::select;

/// Sizes of values as slots of the shape program, until that is finished.
pub(crate) struct Sizes {
    /// Parallel to the graph's values.
    pub(crate) values: Vec<Option<Vec<Slot>>>,
    /// Parallel to the graph's steps.
    pub(crate) workspaces: Vec<Option<Slot>>,
    /// Parallel to the graph's steps: those of the bodies inside.
    pub(crate) bodies: Vec<Vec<Sizes>>,
}

impl Sizes {
    /// Writes the finished registers into the graph.
    pub(crate) fn resolve(&self, graph: &mut Graph, register: &dyn Fn(Slot) -> Register) {
        for (value, slots) in graph.values.iter_mut().zip(&self.values) {
            value.sizes = slots.as_ref().map(|slots| slots.iter().map(|s| register(*s)).collect());
        }
        for ((step, slot), bodies) in graph.steps.iter_mut().zip(&self.workspaces).zip(&self.bodies) {
            match &mut step.action {
                Action::Kernel { workspace, .. } => *workspace = slot.map(register),
                Action::Control { graphs, .. } => {
                    graphs.iter_mut().zip(bodies).for_each(|(graph, sizes)| sizes.resolve(graph, register));
                }
            }
        }
    }
}

/// What lowering a body needs to know.
pub(crate) struct Lowering<'a> {
    pub(crate) back_end: &'a dyn BackEnd,
    pub(crate) device: &'a Device,
    /// Sizes that are known before a run: those that inputs name.
    pub(crate) known: &'a BTreeSet<String>,
    /// Weight behind an input of the outermost body.
    pub(crate) weights: &'a HashMap<ValueId, WeightId>,
    /// Inside control flow: the weights that a body reads are handed in as its inputs.
    pub(crate) is_inside: bool,
    /// Sizes on which the network knows more than inference: equal or the run ends with an error.
    pub(crate) guards: Vec<(Slot, Slot, String)>,
    pub(crate) unserved: Vec<Unserved>,
}

impl Lowering<'_> {
    fn is_known(&self, dim: &Dim) -> bool {
        let mut known = true;
        dim.visit_symbols(&mut |name| known &= self.known.contains(name));
        known
    }

    fn is_sized(&self, ty: &ValueType) -> bool {
        let Some(tensor) = ty.as_tensor() else { return false };
        tensor.data_type != DataType::String && tensor.dims().is_ok_and(|dims| dims.iter().all(|d| self.is_known(d)))
    }

    /// Lowers all living nodes of a body.
    pub(crate) fn lower(&mut self, body: &Body, locations: &[Location], shapes: &mut ShapeCompiler) -> (Graph, Sizes) {
        let mut graph = Graph::default();
        let mut sizes = Sizes { values: Vec::new(), workspaces: Vec::new(), bodies: Vec::new() };
        for index in 0..body.value_count() {
            let ty = body.ty(ValueId::new(index)).clone();
            let slots = match ty.as_tensor() {
                Some(tensor) if self.is_sized(&ty) => {
                    tensor.dims().ok().map(|dims| dims.iter().map(|d| shapes.dim(d)).collect())
                }
                _ => None,
            };
            sizes.values.push(slots);
            graph.values.push(PlanValue { ty, sizes: None, home: Home::Dynamic });
        }
        let weight = |id: &ValueId| self.weights.get(id).filter(|_| !self.is_inside);
        for id in body.inputs() {
            graph.values[id.index()].home = weight(id).map_or(Home::Input, |w| Home::Weight(*w));
        }
        let plan_id = |id: ValueId| PlanValueId::new(id.index());
        graph.inputs = body.inputs().iter().filter(|id| weight(id).is_none()).map(|id| plan_id(*id)).collect();
        graph.outputs = body.outputs().iter().map(|id| plan_id(*id)).collect();
        let living = living_nodes(body);
        for (position, node) in body.nodes().iter().enumerate().filter(|(p, _)| living[*p]) {
            let location = locations.get(position).cloned().unwrap_or_default();
            self.lower_node(body, node, &location, &mut graph, &mut sizes, shapes);
        }
        (graph, sizes)
    }

    fn lower_node(
        &mut self,
        body: &Body,
        node: &Node,
        location: &Location,
        graph: &mut Graph,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) {
        let input_types: Vec<Option<ValueType>> =
            node.inputs.iter().map(|id| id.map(|id| body.ty(id).clone())).collect();
        let output_types: Vec<ValueType> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        if !node.op.bodies().is_empty() {
            let action = self.lower_control(node, &input_types, output_types, location, sizes, shapes);
            for id in &node.outputs {
                sizes.values[id.index()] = None;
            }
            graph.steps.push(step(action, node, location));
            return;
        }
        let region = Region::single(node.op.clone(), &input_types, output_types);
        let choice = match select(&region, self.back_end, self.device) {
            Ok(choice) => choice,
            Err(refusals) => {
                let near = refusals.into_iter().map(|(tactic, refusal)| (tactic, refusal.reason));
                let near = near.filter(|(_, reason)| !reason.starts_with("takes ")).collect();
                self.unserved.push(Unserved { location: location.clone(), operator: node.op.name(), refusals: near });
                return;
            }
        };
        let from_run_time = |id: &ValueId| matches!(graph.values[id.index()].home, Home::Dynamic);
        let unsized_input =
            |id: &ValueId| matches!(graph.values[id.index()].home, Home::Input) && sizes.values[id.index()].is_none();
        let fixed = !choice.takes_values
            && self.sizes_are_inferred(&region, location, shapes)
            && !node.inputs.iter().flatten().any(|id| from_run_time(id) || unsized_input(id))
            && node.outputs.iter().all(|id| sizes.values[id.index()].is_some());
        for id in &node.outputs {
            if fixed {
                graph.values[id.index()].home = Home::Arena(BufferId::new(0));
            } else {
                sizes.values[id.index()] = None;
            }
        }
        let workspace = match choice.candidate.workspace.as_constant() {
            Some(0) => None,
            _ if self.is_known(&choice.candidate.workspace) => Some(shapes.dim(&choice.candidate.workspace)),
            _ => None,
        };
        sizes.workspaces.push(workspace);
        sizes.bodies.push(Vec::new());
        let action = Action::Kernel {
            recipe: choice.candidate.recipe,
            region,
            in_place: if fixed { choice.candidate.in_place } else { Vec::new() },
            workspace: None,
        };
        graph.steps.push(step(action, node, location));
    }

    /// Does inference on the region alone give the sizes that the network has for its results? Where the network knows
    /// better, a guard makes them equal.
    fn sizes_are_inferred(&mut self, region: &Region, location: &Location, shapes: &mut ShapeCompiler) -> bool {
        let Ok(inferred) = region.infer(&region.body().input_types(), &mut InferContext::default()) else {
            return false;
        };
        let mut guards = Vec::new();
        for (declared, inferred) in region.body().output_types().iter().zip(&inferred) {
            let dims = |ty: &ValueType| ty.as_tensor().and_then(|t| t.dims().ok().map(<[Dim]>::to_vec));
            let (Some(declared), Some(inferred)) = (dims(declared), dims(inferred)) else { return false };
            if declared.len() != inferred.len() {
                return false;
            }
            guards.extend(declared.into_iter().zip(inferred).filter(|(a, b)| a != b));
        }
        if !guards.iter().all(|(a, b)| self.is_known(a) && self.is_known(b)) {
            return false;
        }
        for (declared, inferred) in guards {
            let reason = format!("{location}: a result has the size {inferred}, expected {declared}");
            self.guards.push((shapes.dim(&declared), shapes.dim(&inferred), reason));
        }
        true
    }

    /// Control flow: its bodies become graphs, and its region keeps the operator without them.
    fn lower_control(
        &mut self,
        node: &Node,
        input_types: &[Option<ValueType>],
        output_types: Vec<ValueType>,
        location: &Location,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) -> Action {
        let bodies = node.op.bodies();
        let was_inside = std::mem::replace(&mut self.is_inside, true);
        let lowered = bodies.iter().map(|body| self.lower(body, &vec![location.clone(); body.nodes().len()], shapes));
        let (graphs, inner): (Vec<Graph>, Vec<Sizes>) = lowered.unzip();
        self.is_inside = was_inside;
        sizes.workspaces.push(None);
        sizes.bodies.push(inner);
        let shell = node.op.with_bodies(vec![Arc::default(); graphs.len()]);
        Action::Control { region: Region::single(shell, input_types, output_types), graphs }
    }
}

fn step(action: Action, node: &Node, location: &Location) -> Step {
    Step {
        action,
        inputs: node.inputs.iter().map(|id| id.map(|id| PlanValueId::new(id.index()))).collect(),
        outputs: node.outputs.iter().map(|id| PlanValueId::new(id.index())).collect(),
        origins: vec![location.to_string()],
    }
}

/// Nodes whose results are used, directly or not, by a result of the body, or which must run anyway.
fn living_nodes(body: &Body) -> Vec<bool> {
    let mut used = vec![false; body.value_count()];
    for id in body.outputs() {
        used[id.index()] = true;
    }
    let mut living = vec![false; body.nodes().len()];
    for (position, node) in body.nodes().iter().enumerate().rev() {
        if node.op.effects().asserts || node.outputs.iter().any(|id| used[id.index()]) {
            living[position] = true;
            for id in node.inputs.iter().flatten() {
                used[id.index()] = true;
            }
        }
    }
    living
}
