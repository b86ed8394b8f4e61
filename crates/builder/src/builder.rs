//! A build from beginning to end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sinter_backend::BackEnd;
use sinter_base::{Dim, TensorType, ValueType};
use sinter_interp::evaluate_weight;
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{EvalError, ValueId};
use sinter_passes::{Optimized, PassOptions, PassReport, optimize};
use sinter_plan::{Graph, Home, Plan, PlanGuard, PlanValueId, PlanWeight, Port, ShapeCompiler, WeightId};

use crate::error::BuildError;
use crate::lower::{Lowering, PACKED, Pack};
use crate::memory::assign_buffers;
use crate::parity::{self, Answers, Change, Draft, Dropped, Verification, Verify};
use crate::select::Banned;

/// What the user decides about a build.
#[derive(Debug)]
pub struct BuildOptions<'a> {
    /// Threads to choose kernels for; the plan runs with any number.
    pub threads: usize,
    /// What becomes of the passes.
    pub passes: PassOptions<'a>,
    /// What the plan is verified with.
    pub verify: Verify,
}

/// A plan, and how it came about.
#[derive(Clone, Debug)]
pub struct Built {
    /// The plan.
    pub plan: Plan,
    /// What every pass did.
    pub passes: Vec<PassReport>,
    /// The network after the passes; values of the plan up to its last one have its numbers.
    pub network: Network,
    /// What the judge said.
    pub verification: Verification,
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self { threads: 1, passes: PassOptions::default(), verify: Verify::default() }
    }
}

/// Builds a plan for one back end.
///
/// # Errors
/// When a pass is unknown, operators have no kernel, all of them at once, or a weight cannot be computed.
pub fn build(network: &Network, back_end: &dyn BackEnd, options: BuildOptions<'_>) -> Result<Built, BuildError> {
    let imported = network;
    let disabled = options.passes.disabled.clone();
    let mut optimized = optimize(imported.clone(), options.passes)?;
    let mut verification = Verification::default();
    let mut banned = Banned::new();
    let answers = match parity::answers(imported, &options.verify) {
        Ok(answers) => answers,
        Err(reason) => {
            verification.skipped = Some(reason);
            let Draft { plan, .. } = make_plan(&optimized.network, back_end, options.threads, &banned)?;
            return Ok(Built { plan, passes: optimized.report, network: optimized.network, verification });
        }
    };
    match parity::keeps_meaning(imported, &optimized.network, &answers) {
        Ok(()) => {}
        // One rounding more or less may select something else: the steps are still verified one by one.
        Err(Change::Outputs(reason)) if parity::is_discrete(&imported.body) => {
            verification.unverified_passes = Some(reason);
        }
        Err(Change::Effects(reason) | Change::Outputs(reason)) => {
            optimized = without_wrong_pass(imported, optimized, disabled, &answers, reason, &mut verification)?;
        }
    }
    let Optimized { network, report } = optimized;
    loop {
        let mut draft = make_plan(&network, back_end, options.threads, &banned)?;
        let failures = parity::check_steps(&draft, &network, &answers, back_end, &mut verification);
        if !parity::ban(failures, &mut banned, &mut verification) {
            match parity::whole::check(&draft.plan, imported, &answers, back_end) {
                Ok(()) => {}
                Err(reason) if parity::is_discrete(&imported.body) => {
                    verification.unverified.push(("the whole plan".to_owned(), reason));
                }
                Err(reason) => return Err(BuildError::Disagrees { reason }),
            }
            draft.plan.sealed = parity::seal(&draft.plan, imported, &answers);
            return Ok(Built { plan: draft.plan, passes: report, network, verification });
        }
    }
}

/// The network after the passes without the one that changes its meaning; without any when one alone is not to blame.
fn without_wrong_pass(
    imported: &Network,
    optimized: Optimized,
    disabled: BTreeSet<String>,
    answers: &Answers,
    reason: String,
    verification: &mut Verification,
) -> Result<Optimized, BuildError> {
    let drop =
        |name: &str| Dropped { name: name.to_owned(), origin: "the whole network".to_owned(), reason: reason.clone() };
    for report in optimized.report.iter().filter(|report| report.fired > 0) {
        let mut without = disabled.clone();
        without.insert(report.pass.to_owned());
        let again = optimize(imported.clone(), PassOptions { disabled: without, ..PassOptions::default() })?;
        if parity::keeps_meaning(imported, &again.network, answers).is_ok() {
            verification.dropped.push(drop(report.pass));
            return Ok(again);
        }
    }
    verification.dropped.push(drop("all passes"));
    Ok(Optimized { network: imported.clone(), report: Vec::new() })
}

/// The plan of a network as it is.
fn make_plan(network: &Network, back_end: &dyn BackEnd, threads: usize, banned: &Banned) -> Result<Draft, BuildError> {
    let device = back_end.device(threads);
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
        banned,
        known: &known,
        weights: &weight_ids,
        expressions: network.weights.iter().map(|w| w.expr.clone()).collect(),
        packs: Vec::new(),
        is_inside: false,
        guards: Vec::new(),
        unserved: Vec::new(),
    };
    let (mut graph, sizes) = lowering.lower(&network.body, &network.locations, &mut shapes);
    if !lowering.unserved.is_empty() {
        return Err(BuildError::Unserved(lowering.unserved));
    }
    let Lowering { expressions, packs, guards, .. } = lowering;
    let of_network = network
        .guards
        .iter()
        .filter(|g| is_over(&g.left, &known) && is_over(&g.right, &known))
        .map(|g| (shapes.dim(&g.left), shapes.dim(&g.right), g.reason.clone()));
    let guards: Vec<_> = of_network.chain(guards).collect();
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
    plan.weights = used_weights(&expressions, &packs, back_end, &mut plan.graph)?;
    for (port, input) in plan.inputs.iter_mut().zip(&network.inputs) {
        if let Some(tensor) = &input.default {
            port.default = Some(WeightId::new(plan.weights.len()));
            plan.weights.push(PlanWeight { name: input.name.clone(), tensor: tensor.clone() });
        }
    }
    let packs = packs.into_iter().map(|(pack, value)| (value, pack)).collect();
    Ok(Draft { plan, expressions, packs })
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

/// The weights that steps or results still use, evaluated, packed where a kernel wants that, and renumbered.
fn used_weights(
    expressions: &[Arc<WeightExpr>],
    packs: &[(Pack, PlanValueId)],
    back_end: &dyn BackEnd,
    graph: &mut Graph,
) -> Result<Vec<PlanWeight>, BuildError> {
    let mut used: BTreeSet<PlanValueId> = graph.outputs.iter().copied().collect();
    used.extend(graph.steps.iter().flat_map(|s| s.inputs.iter().flatten()).copied());
    let mut weights = Vec::new();
    let mut numbers: HashMap<WeightId, WeightId> = HashMap::new();
    for index in 0..graph.values.len() {
        let Home::Weight(old) = graph.values[index].home else { continue };
        if !used.contains(&PlanValueId::new(index)) {
            // Nothing refers to it; as an input of the graph it would be asked for.
            graph.values[index].home = Home::Dynamic;
            continue;
        }
        if let Some(known) = numbers.get(&old) {
            graph.values[index].home = Home::Weight(*known);
            continue;
        }
        let pack = old.index().checked_sub(PACKED).and_then(|index| packs.get(index)).map(|(pack, _)| pack);
        let source = pack.map_or(old, |pack| pack.weight);
        let expression = &expressions[source.index()];
        let name = name_of(expression).unwrap_or_else(|| format!("weight {}", source.index()));
        let failed = |source: EvalError| BuildError::Weight { name: name.clone(), source };
        let mut tensor = evaluate_weight(expression).map_err(failed)?;
        if let Some(Pack { operand, recipe, region, .. }) = pack {
            let tactic = back_end.tactic(&recipe.tactic);
            let tactic = tactic.ok_or_else(|| failed(EvalError::Invalid(format!("{} is gone", recipe.tactic))))?;
            let packed = tactic.pack(recipe, region, *operand, &tensor);
            tensor = packed.map_err(|e| failed(EvalError::Invalid(e.to_string())))?;
            graph.values[index].ty = TensorType::new(tensor.data_type(), tensor.sizes().into()).into();
        }
        let new = WeightId::new(weights.len());
        numbers.insert(old, new);
        graph.values[index].home = Home::Weight(new);
        weights.push(PlanWeight { name, tensor });
    }
    Ok(weights)
}

/// The name of the first source that has one.
fn name_of(expression: &WeightExpr) -> Option<String> {
    match expression {
        WeightExpr::Source { name, .. } => Some(name.to_string()).filter(|name| !name.is_empty()),
        WeightExpr::Apply { inputs, .. } => inputs.iter().flatten().find_map(|input| name_of(input)),
    }
}
