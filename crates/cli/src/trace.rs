//! The first difference between an engine and the reference executor: the trace compares the value of every node, those inside
//! fused steps included, and the first bad value names the node and the region.
//!
//! The reference executor runs the network after the passes, so that its values are those of the plan. The trace cannot
//! compare values of steps that only the plan has (layout conversions); the bad region is then one of those since the last
//! good value. A fused step whose own operators agree one by one, and whose result does not, has a wrong kernel.

use std::collections::{BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::Value;
use sinter::internals::builder::{SizeHints, Tap, TapSource, run_tapped};
use sinter::internals::ir::Network;
use sinter::internals::ops::ValueId;
use sinter::internals::plan::{Plan, PlanValueId};
use sinter::internals::runtime::Engine;

use crate::bounds::Allowed;
use crate::commands::diff::reference;
use crate::difference::{Difference, differences};
use crate::failure::Failure;
use crate::flags::BackEnds;
use crate::report::{operators, sources, tactic};

/// What a trace found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Values that were compared.
    pub compared: usize,
    /// How many of them are inside fused steps: kernels for single operators computed them from the engine's values.
    pub inside: usize,
    /// Steps of the plan.
    pub steps: usize,
    /// Does the network after the passes, run by the reference executor, give the expected outputs? If not, a pass is at
    /// fault, or the expectation.
    pub passes_within: bool,
    /// Steps since the last good value, the first bad value last; empty when all values are good.
    pub bad: Vec<TracedStep>,
    /// The node whose value is the first bad one.
    pub node: Option<TracedNode>,
    /// The first bad value against that of the reference executor.
    pub difference: Option<Difference>,
}

/// A step under suspicion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracedStep {
    /// Its position in the plan.
    pub position: usize,
    /// The operators that it computes.
    pub operators: Vec<String>,
    /// Name of the kernel's tactic; absent for control flow.
    pub tactic: Option<String>,
    /// Nodes of the model that it comes from.
    pub origins: Vec<String>,
}

/// A node whose value is bad.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracedNode {
    /// The node of the model.
    pub origin: String,
    /// Its operator.
    pub operator: String,
    /// Is its value inside the last of the bad steps? Else that step's kernel makes it.
    pub is_inside: bool,
}

/// Compares every value of a run; `network` is what the engine's plan was built of.
///
/// # Errors
/// When the reference executor or the engine fails, or all values together need more memory than allowed.
pub fn trace(
    (engine, back_ends): (&Engine, &BackEnds),
    network: &Network,
    inputs: &[(String, Value)],
    expected: &[(String, Value)],
    bounds: &Allowed,
    max_memory: u64,
) -> Result<Trace, Failure> {
    let nodes = network.body.nodes();
    let made = nodes.iter().flat_map(|node| &node.outputs).copied();
    let known: Vec<ValueId> = made.chain(network.outputs.iter().map(|o| o.value)).collect();
    let mut all_values = network.clone();
    all_values.body.set_outputs(known.clone());
    sinter::internals::memory::check(&all_values, &SizeHints::default(), max_memory)?;
    let values: HashMap<ValueId, Value> = known.into_iter().zip(reference(&all_values, inputs, max_memory)?).collect();
    let outputs: Vec<(String, Value)> =
        network.outputs.iter().filter_map(|o| Some((o.name.clone(), values.get(&o.value)?.clone()))).collect();
    let passes_within = differences(&outputs, expected, &|name| bounds.of_output(name)).iter().all(|d| d.within);
    let mut comparison = Comparison { values, bounds, compared: 0, inside: 0, good: BTreeSet::new(), first: None };
    run_tapped(engine, network, (back_ends.main(), back_ends.island()), inputs, &mut |tap| comparison.see(tap))?;
    let Comparison { compared, inside, good, first, .. } = comparison;
    let plan = engine.plan();
    let (mut bad, mut node, mut difference) = (Vec::new(), None, None);
    if let Some(Bad { step, node: position, is_inside, difference: found, origin }) = first {
        let after_good = good.range(..step).next_back().map_or(0, |last| last + 1);
        bad = (after_good..=step).filter(|at| *at < plan.graph.steps.len()).map(|at| traced(plan, at)).collect();
        node = Some(TracedNode { origin, operator: nodes[position].op.name().to_owned(), is_inside });
        difference = Some(found);
    }
    Ok(Trace { compared, inside, steps: plan.graph.steps.len(), passes_within, bad, node, difference })
}

fn traced(plan: &Plan, position: usize) -> TracedStep {
    let step = &plan.graph.steps[position];
    TracedStep { position, operators: operators(step), tactic: tactic(step), origins: sources(step) }
}

/// A bad value.
struct Bad {
    step: usize,
    node: usize,
    is_inside: bool,
    difference: Difference,
    origin: String,
}

struct Comparison<'a> {
    values: HashMap<ValueId, Value>,
    bounds: &'a Allowed,
    compared: usize,
    inside: usize,
    /// Steps with a good value.
    good: BTreeSet<usize>,
    /// The bad value of the first step, the first node of it.
    first: Option<Bad>,
}

impl Comparison<'_> {
    fn see(&mut self, tap: &Tap<'_>) {
        let Some(expected) = self.values.get(&tap.id) else { return };
        let (step, is_inside) = match tap.source {
            TapSource::Step(step) => (step, false),
            TapSource::Inside(step) => (step, true),
            TapSource::Sizes => return,
        };
        self.compared += 1;
        self.inside += usize::from(is_inside);
        let named = |value: &Value| [(tap.id.to_string(), value.clone())];
        let bounds = |_: &str| self.bounds.of_value(PlanValueId::new(tap.id.index()));
        let bad = differences(&named(tap.value), &named(expected), &bounds).into_iter().find(|d| !d.within);
        let Some(difference) = bad else {
            if !is_inside {
                self.good.insert(step);
            }
            return;
        };
        if self.first.as_ref().is_none_or(|first| (step, tap.node) < (first.step, first.node)) {
            let origin = tap.location.to_string();
            self.first = Some(Bad { step, node: tap.node, is_inside, difference, origin });
        }
    }
}
