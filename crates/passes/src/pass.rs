//! The definition of a pass, and its application to a network and all nested bodies.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::Location;
use sinter_ir::patch::Mark;
use sinter_ir::{Applied, Graph, Network, Patch, WeightExpr, Weights, verify};
use sinter_ops::{Body, Guard, InferContext, InferError, ValueId};

use crate::error::PassError;

/// Near misses kept per pass.
const MAX_MISSES: usize = 32;

/// The reason why a pass that nearly applied to a node did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss(pub String);

impl From<InferError> for Miss {
    fn from(error: InferError) -> Self {
        Miss(error.to_string())
    }
}

/// Returns early with a near miss, formatted.
macro_rules! miss {
    ($($arg:tt)*) => { return Err($crate::pass::Miss(format!($($arg)*))) };
}
pub(crate) use miss;

/// The report of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Its name.
    pub pass: &'static str,
    /// How often it fired.
    pub fired: usize,
    /// Where it nearly fired and why it did not.
    pub misses: Vec<(Location, String)>,
}

/// Changes one node, given by its position: `Ok(true)` if it did.
pub(crate) type Rewrite = fn(&Graph<'_>, usize, &mut Patch<'_>) -> Result<bool, Miss>;

/// Changes a whole body: how often it did.
pub(crate) type Sweep = fn(&Graph<'_>, &mut Patch<'_>) -> usize;

#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Looks at one node after the other.
    Node(Rewrite),
    /// Looks at all nodes together.
    Body(Sweep),
}

/// A pass: its name, its purpose and its function.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Name in options, reports and errors.
    pub name: &'static str,
    pub(crate) action: Action,
}

impl Pass {
    pub(crate) const fn node(name: &'static str, rewrite: Rewrite) -> Self {
        Self { name, action: Action::Node(rewrite) }
    }

    pub(crate) const fn body(name: &'static str, sweep: Sweep) -> Self {
        Self { name, action: Action::Body(sweep) }
    }
}

/// A network under change.
pub(crate) struct Runner {
    pub(crate) network: Network,
    infer: InferContext,
}

impl Runner {
    pub(crate) fn new(network: Network) -> Result<Self, PassError> {
        verify(&network).map_err(|source| PassError::Verify { pass: "import", source })?;
        let infer = network.infer_context();
        Ok(Self { network, infer })
    }

    /// Runs a pass once over everything; true if anything changed.
    pub(crate) fn run(&mut self, pass: &Pass, report: &mut PassReport) -> Result<bool, PassError> {
        let graph = Graph::of_network(&self.network);
        let locations = |position: usize| self.network.locations.get(position).cloned().unwrap_or_default();
        let fired = report.fired;
        let applied = run_on_graph(pass, &graph, &locations, &mut self.infer, report, true)?;
        let Some(applied) = applied else { return Ok(false) };
        let changed = report.fired > fired || applied.body.nodes().len() != self.network.body.nodes().len();
        let network = std::mem::take(&mut self.network);
        self.network = network.patched(applied, distinct(&mut self.infer.guards));
        if changed {
            verify(&self.network).map_err(|source| PassError::Verify { pass: pass.name, source })?;
        }
        Ok(changed)
    }
}

/// The guards so far, each once.
fn distinct(guards: &mut Vec<Guard>) -> Vec<Guard> {
    let mut seen = std::collections::HashSet::new();
    guards.retain(|guard| seen.insert(guard.clone()));
    guards.clone()
}

/// The body after the pass; `None` when nothing changed. Conditions on sizes are known of the outermost body only.
fn run_on_graph(
    pass: &Pass,
    graph: &Graph<'_>,
    locations: &dyn Fn(usize) -> Location,
    infer: &mut InferContext,
    report: &mut PassReport,
    is_outermost: bool,
) -> Result<Option<Applied>, PassError> {
    let fired = report.fired;
    let mut inner = Vec::new();
    for (position, node) in graph.body().nodes().iter().enumerate() {
        if !node.op.bodies().is_empty()
            && let Some(changed) = run_inside(pass, graph, position, locations, infer, report)?
        {
            inner.push((position, changed));
        }
    }
    let mut patch = Patch::new(graph, infer);
    for (position, bodies) in inner {
        replace_bodies(graph, position, bodies, &mut patch);
    }
    match pass.action {
        Action::Body(sweep) => report.fired += sweep(graph, &mut patch),
        Action::Node(rewrite) => {
            for position in 0..graph.body().nodes().len() {
                let mark: Mark = patch.mark();
                patch.set_origins([position]);
                let rewritten =
                    rewrite(graph, position, &mut patch).and_then(|changes| match patch.narrowed_since(mark) {
                        Some(Guard { left, right, .. }) if changes && is_outermost => {
                            Err(Miss(format!("sizes may be such that {left} is not {right}")))
                        }
                        _ => Ok(changes),
                    });
                match rewritten {
                    Ok(true) => report.fired += 1,
                    Ok(false) => patch.undo_to(mark),
                    Err(Miss(reason)) => {
                        patch.undo_to(mark);
                        let entry = (locations(position), reason);
                        if report.misses.len() < MAX_MISSES && !report.misses.contains(&entry) {
                            report.misses.push(entry);
                        }
                    }
                }
            }
        }
    }
    if patch.is_empty() && report.fired == fired {
        return Ok(None);
    }
    patch.apply().map(Some).map_err(|source| PassError::Patch { pass: pass.name, source })
}

/// The bodies of one node after the pass; `None` when none changed.
fn run_inside(
    pass: &Pass,
    graph: &Graph<'_>,
    position: usize,
    locations: &dyn Fn(usize) -> Location,
    infer: &mut InferContext,
    report: &mut PassReport,
) -> Result<Option<Vec<Option<Applied>>>, PassError> {
    let node = graph.node(position);
    let mut results = Vec::new();
    let guards = infer.guards.len();
    for (which, body) in node.op.bodies().into_iter().enumerate() {
        let weights = captured_weights(graph, position, which);
        let inner = Graph::of_body(body, weights);
        results.push(run_on_graph(pass, &inner, &|_| locations(position), infer, report, false)?);
    }
    // A body may never run, and the run infers its sizes again when it does.
    infer.guards.truncate(guards);
    Ok(results.iter().any(Option::is_some).then_some(results))
}

/// Inputs of a node that feed the captured values of its bodies: the last ones, body by body. A body with inputs of
/// its own is the only one, and its own inputs come first.
fn captures(graph: &Graph<'_>, position: usize, which: usize) -> std::ops::Range<usize> {
    let node = graph.node(position);
    let bodies = node.op.bodies();
    let after: usize = bodies[which + 1..].iter().map(|body| body.inputs().len()).sum();
    let end = node.inputs.len().saturating_sub(after);
    let own = fed_inputs(&node.op);
    (end + own).saturating_sub(bodies[which].inputs().len())..end
}

/// Number of a body's inputs that are no captured values.
fn fed_inputs(op: &sinter_ops::Op) -> usize {
    match op {
        sinter_ops::Op::Loop(op) => 2 + op.carried,
        sinter_ops::Op::Scan(op) => op.states + op.inputs.len(),
        _ => 0,
    }
}

fn captured_weights(graph: &Graph<'_>, position: usize, which: usize) -> Weights {
    let node = graph.node(position);
    let range = captures(graph, position, which);
    let body = node.op.bodies()[which];
    let inner = body.inputs()[fed_inputs(&node.op).min(body.inputs().len())..].iter();
    inner
        .zip(&node.inputs[range])
        .filter_map(|(inner, outer)| Some((*inner, graph.weight((*outer)?)?.clone())))
        .collect::<HashMap<ValueId, Arc<WeightExpr>>>()
}

/// Puts changed bodies into their node; new weights of a body become captured values.
fn replace_bodies(graph: &Graph<'_>, position: usize, changed: Vec<Option<Applied>>, patch: &mut Patch<'_>) {
    let node = graph.node(position);
    let mut inputs = node.inputs.to_vec();
    let mut bodies: Vec<Arc<Body>> = node.op.bodies().into_iter().cloned().collect();
    for (which, applied) in changed.into_iter().enumerate().rev() {
        let Some(applied) = applied else { continue };
        let end = captures(graph, position, which).end;
        for (offset, (inner, expr)) in applied.weights.iter().enumerate() {
            let captured = patch.weight(expr.clone(), applied.body.ty(*inner).clone());
            inputs.insert(end + offset, Some(captured));
        }
        bodies[which] = Arc::new(applied.body);
    }
    patch.set_origins([position]);
    let types = node.outputs.iter().map(|id| graph.ty(*id).clone()).collect();
    let outputs = patch.add_typed(node.op.with_bodies(bodies), &inputs, types);
    for (old, new) in node.outputs.iter().zip(outputs) {
        patch.replace(*old, new);
    }
}
