//! A build from beginning to end.

use std::collections::{BTreeSet, HashMap};

use sinter_backend::BackEnd;
use sinter_base::{Dim, ValueType};
use sinter_interp::evaluate_weight;
use sinter_ir::{Network, WeightExpr};
use sinter_ops::ValueId;
use sinter_plan::{Home, Plan, PlanGuard, PlanValueId, PlanWeight, Port, ShapeCompiler, WeightId};

use crate::error::BuildError;
use crate::lower::Lowering;
use crate::memory::assign_buffers;

/// What the user decides about a build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Threads to choose kernels for; the plan runs with any number.
    pub threads: usize,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

/// Builds a plan for one back end.
///
/// # Errors
/// When operators have no kernel, all of them at once, or a weight cannot be computed.
pub fn build(network: &Network, back_end: &dyn BackEnd, options: &BuildOptions) -> Result<Plan, BuildError> {
    let device = back_end.device(options.threads);
    let known = input_symbols(network);
    let weight_ids: HashMap<ValueId, WeightId> =
        network.weights.iter().enumerate().map(|(i, w)| (w.value, WeightId::new(i))).collect();
    let mut shapes = ShapeCompiler::default();
    for name in &known {
        shapes.symbol(name);
    }
    let mut lowering = Lowering {
        back_end,
        device: &device,
        known: &known,
        weights: &weight_ids,
        is_inside: false,
        guards: Vec::new(),
        unserved: Vec::new(),
    };
    let (mut graph, sizes) = lowering.lower(&network.body, &network.locations, &mut shapes);
    if !lowering.unserved.is_empty() {
        return Err(BuildError::Unserved(lowering.unserved));
    }
    let of_network = network
        .guards
        .iter()
        .filter(|g| is_over(&g.left, &known) && is_over(&g.right, &known))
        .map(|g| (shapes.dim(&g.left), shapes.dim(&g.right), g.reason.clone()));
    let guards: Vec<_> = of_network.chain(lowering.guards).collect();
    let (program, register) = shapes.finish();
    sizes.resolve(&mut graph, &register);
    assign_buffers(&mut graph);
    let port = |name: &str, value: ValueId| Port {
        name: name.to_owned(),
        value: PlanValueId::new(value.index()),
        default: None,
    };
    let mut plan = Plan {
        name: network.name.clone(),
        device,
        graph,
        inputs: network.inputs.iter().map(|i| port(&i.name, i.value)).collect(),
        outputs: network.outputs.iter().map(|o| port(&o.name, o.value)).collect(),
        weights: Vec::new(),
        shapes: program,
        guards: guards
            .into_iter()
            .map(|(left, right, reason)| PlanGuard { left: register(left), right: register(right), reason })
            .collect(),
        sealed: None,
    };
    plan.weights = used_weights(network, &mut plan.graph)?;
    for (port, input) in plan.inputs.iter_mut().zip(&network.inputs) {
        if let Some(tensor) = &input.default {
            port.default = Some(WeightId::new(plan.weights.len()));
            plan.weights.push(PlanWeight { name: input.name.clone(), tensor: tensor.clone() });
        }
    }
    Ok(plan)
}

/// Sizes that the network's inputs name.
fn input_symbols(network: &Network) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for input in &network.inputs {
        if let ValueType::Tensor(ty) = network.body.ty(input.value) {
            names.extend(ty.dims().unwrap_or_default().iter().filter_map(|d| d.as_symbol().map(str::to_owned)));
        }
    }
    names
}

fn is_over(dim: &Dim, known: &BTreeSet<String>) -> bool {
    let mut over = true;
    dim.visit_symbols(&mut |name| over &= known.contains(name));
    over
}

/// The weights that steps or results still use, renumbered.
fn used_weights(network: &Network, graph: &mut sinter_plan::Graph) -> Result<Vec<PlanWeight>, BuildError> {
    let mut used: BTreeSet<PlanValueId> = graph.outputs.iter().copied().collect();
    used.extend(graph.steps.iter().flat_map(|s| s.inputs.iter().flatten()).copied());
    let mut weights = Vec::new();
    for (index, weight) in network.weights.iter().enumerate() {
        let id = PlanValueId::new(weight.value.index());
        if !used.contains(&id) {
            // Nothing refers to it; as an input of the graph it would be asked for.
            graph.values[id.index()].home = Home::Dynamic;
            continue;
        }
        let name = match &*weight.expr {
            WeightExpr::Source { name, .. } => name.to_string(),
            WeightExpr::Apply { .. } => format!("weight {index}"),
        };
        let tensor =
            evaluate_weight(&weight.expr).map_err(|source| BuildError::Weight { name: name.clone(), source })?;
        graph.values[id.index()].home = Home::Weight(WeightId::new(weights.len()));
        weights.push(PlanWeight { name, tensor });
    }
    Ok(weights)
}
