//! The first difference between an engine and the reference executor: the trace compares every value that a step makes, and
//! the first bad value names the region.
//!
//! The reference executor runs the network after the passes, so that its values are those of the plan. The trace cannot
//! compare values of steps that only the plan has (layout conversions); the bad region is then one of those since the last
//! good value.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::Value;
use sinter::internals::builder::SizeHints;
use sinter::internals::ir::Network;
use sinter::internals::ops::ValueId;
use sinter::internals::plan::{Plan, PlanValueId};
use sinter::internals::runtime::{Engine, Observer, RuntimeError, StepValues};

use crate::bounds::Allowed;
use crate::commands::diff::judge;
use crate::difference::{Difference, differences};
use crate::failure::Failure;
use crate::report::{operators, sources, tactic};

/// What a trace found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Steps whose results were compared.
    pub compared: usize,
    /// Steps of the plan.
    pub steps: usize,
    /// Does the network after the passes, run by the judge, give the expected outputs? If not, a pass is at fault, or
    /// the expectation.
    pub passes_within: bool,
    /// Steps since the last good value, the first bad value last; empty when all values are good.
    pub bad: Vec<TracedStep>,
    /// The first bad value against the judge's.
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

/// Compares every value of a run; `network` is what the engine's plan was built of.
///
/// # Errors
/// When the judge or the engine fails, or all values together need more memory than allowed.
pub fn trace(
    engine: &Engine,
    network: &Network,
    inputs: &[(String, Value)],
    expected: &[(String, Value)],
    bounds: &Allowed,
    max_memory: u64,
) -> Result<Trace, Failure> {
    let made = engine.plan().graph.steps.iter().flat_map(|step| &step.outputs);
    let known: Vec<ValueId> = made
        .filter(|id| id.index() < network.body.value_count())
        .map(|id| ValueId::new(id.index()))
        .chain(network.outputs.iter().map(|o| o.value))
        .collect();
    let mut tapped = network.clone();
    tapped.body.set_outputs(known.clone());
    sinter::internals::memory::check(&tapped, &SizeHints::default(), max_memory)?;
    let values: HashMap<ValueId, Value> = known.into_iter().zip(judge(&tapped, inputs, max_memory)?).collect();
    let outputs: Vec<(String, Value)> =
        network.outputs.iter().filter_map(|o| Some((o.name.clone(), values.get(&o.value)?.clone()))).collect();
    let passes_within = differences(&outputs, expected, &|name| bounds.of_output(name)).iter().all(|d| d.within);
    let mut comparison =
        Comparison { plan: engine.plan(), values, bounds, compared: 0, suspects: Vec::new(), difference: None };
    engine.run_observed(inputs.to_vec(), &mut comparison)?;
    let Comparison { compared, suspects, difference, .. } = comparison;
    let bad = if difference.is_some() { suspects } else { Vec::new() };
    Ok(Trace {
        compared,
        steps: engine.plan().graph.steps.len(),
        passes_within,
        bad: bad.into_iter().map(|position| traced(engine.plan(), position)).collect(),
        difference,
    })
}

fn traced(plan: &Plan, position: usize) -> TracedStep {
    let step = &plan.graph.steps[position];
    TracedStep { position, operators: operators(step), tactic: tactic(step), origins: sources(step) }
}

struct Comparison<'a> {
    plan: &'a Plan,
    values: HashMap<ValueId, Value>,
    bounds: &'a Allowed,
    compared: usize,
    /// Steps since the last good value.
    suspects: Vec<usize>,
    difference: Option<Difference>,
}

impl Comparison<'_> {
    fn expected(&self, id: PlanValueId) -> Option<&Value> {
        self.values.get(&ValueId::new(id.index()))
    }
}

impl Observer for Comparison<'_> {
    fn before(&mut self, _: usize) {}

    fn after(&mut self, position: usize, values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        if self.difference.is_some() {
            return Ok(());
        }
        self.suspects.push(position);
        let outputs = self.plan.graph.steps.get(position).map(|step| step.outputs.clone()).unwrap_or_default();
        let mut comparable = false;
        for id in outputs {
            let Some(expected) = self.expected(id) else { continue };
            comparable = true;
            let named = |value: Value| [(id.to_string(), value)];
            let all = differences(&named(values.value(id)?), &named(expected.clone()), &|_| self.bounds.of_value(id));
            self.difference = self.difference.take().or(all.into_iter().find(|d| !d.within));
        }
        self.compared += usize::from(comparable);
        if comparable && self.difference.is_none() {
            self.suspects.clear();
        }
        Ok(())
    }
}
