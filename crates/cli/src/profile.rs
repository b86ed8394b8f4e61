//! The time of an inference by step, and by operator.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backends;
use sinter::internals::base::{Value, ValueType};
use sinter::internals::ops::Operands;
use sinter::internals::plan::{Action, Plan, Step};
use sinter::internals::runtime::{Engine, Profile};

use crate::failure::Failure;
use crate::progress::Stage;
use crate::report::{milliseconds, operators, sources, table, tactic, time_text};

/// Time of one step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepTime {
    /// Mean time in milliseconds.
    pub ms: f64,
    /// Its share of all steps, in percent.
    pub percent: f64,
    /// How many steps of control flow it is inside of; their times contain its own.
    pub depth: usize,
    /// Arithmetic operations, a multiply-add as two; absent where they depend on more than the sizes of the inputs, and
    /// inside control flow.
    pub operations: Option<f64>,
    /// Billions of operations per second; absent for steps without arithmetic.
    pub gflops: Option<f64>,
    /// The operators that it computes.
    pub operators: Vec<String>,
    /// Name of the kernel's tactic; absent for control flow.
    pub tactic: Option<String>,
    /// Nodes of the model that it comes from.
    pub origins: Vec<String>,
}

/// Time of all steps that compute the same operators.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorTime {
    /// The operators that each of the steps computes.
    pub operators: Vec<String>,
    /// Number of steps.
    pub steps: usize,
    /// Mean time of all of them in milliseconds.
    pub ms: f64,
    /// Their share of all steps, in percent.
    pub percent: f64,
    /// Billions of operations per second; absent where a step has none.
    pub gflops: Option<f64>,
}

/// Does the plan run on the host itself, whose clock measures each step?
pub fn is_on_host(engine: &Engine) -> bool {
    engine.plan().target.back_end == backends::default().name()
}

/// Runs an engine so many times and takes the time of every step, in execution order.
///
/// # Errors
/// When an inference fails.
pub fn step_times(engine: &Engine, inputs: &[(String, Value)], runs: usize) -> Result<Vec<StepTime>, Failure> {
    let stage = Stage::bar("profiling", runs as u64);
    let mut profile = if is_on_host(engine) { Profile::new(engine) } else { Profile::on_device(engine) };
    for run in 0..runs {
        engine.run_observed(inputs.to_vec(), &mut profile)?;
        stage.set(run as u64);
    }
    let sizes = named_sizes(engine.plan(), inputs);
    let total: Duration = profile.mean_times().sum();
    let mut times = Vec::new();
    let mut add = |step: &Step, depth: usize, time: Duration| {
        // This function does not know how often control flow runs a step.
        let operations = if depth == 0 { operations(step, &sizes) } else { None };
        times.push(StepTime {
            ms: milliseconds(time),
            percent: share(time.as_secs_f64(), total.as_secs_f64()),
            depth,
            operations,
            gflops: operations.and_then(|operations| rate(operations, milliseconds(time))),
            operators: operators(step),
            tactic: tactic(step),
            origins: sources(step),
        });
    };
    for (position, (step, time)) in engine.plan().graph.steps.iter().zip(profile.mean_times()).enumerate() {
        add(step, 0, time);
        inner_times(step, &mut vec![position], &profile, &mut add);
    }
    Ok(times)
}

/// Times of the steps inside a step of control flow, which lies at this path.
fn inner_times(step: &Step, path: &mut Vec<usize>, profile: &Profile, add: &mut dyn FnMut(&Step, usize, Duration)) {
    let Action::Control { graphs, .. } = &step.action else { return };
    for (number, graph) in graphs.iter().enumerate() {
        for (position, step) in graph.steps.iter().enumerate() {
            path.extend([number, position]);
            add(step, path.len() / 2, profile.mean_time_inside(path));
            inner_times(step, path, profile, add);
            path.truncate(path.len() - 2);
        }
    }
}

fn share(part: f64, whole: f64) -> f64 {
    100.0 * part / whole.max(f64::MIN_POSITIVE)
}

/// Billions of operations per second.
fn rate(operations: f64, ms: f64) -> Option<f64> {
    (operations > 0.0 && ms > 0.0).then(|| operations / ms * 1e-6)
}

/// The times by operators, longest first. Control flow counts with what the steps inside leave of its time.
pub fn operator_times(steps: &[StepTime]) -> Vec<OperatorTime> {
    let mut all: Vec<(OperatorTime, Option<f64>)> = Vec::new();
    for (position, step) in steps.iter().enumerate() {
        let below = steps[position + 1..].iter().take_while(|other| other.depth > step.depth);
        let inside = below.filter(|other| other.depth == step.depth + 1);
        let (inside_ms, inside_percent) =
            inside.fold((0.0, 0.0), |sum, other| (sum.0 + other.ms, sum.1 + other.percent));
        let (ms, percent) = ((step.ms - inside_ms).max(0.0), (step.percent - inside_percent).max(0.0));
        match all.iter_mut().find(|(known, _)| known.operators == step.operators) {
            Some((known, operations)) => {
                known.steps += 1;
                known.ms += ms;
                known.percent += percent;
                *operations = operations.zip(step.operations).map(|(a, b)| a + b);
            }
            None => {
                let operators = step.operators.clone();
                all.push((OperatorTime { operators, steps: 1, ms, percent, gflops: None }, step.operations));
            }
        }
    }
    let rated = |(time, operations): (OperatorTime, Option<f64>)| OperatorTime {
        gflops: operations.and_then(|operations| rate(operations, time.ms)),
        ..time
    };
    let mut all: Vec<OperatorTime> = all.into_iter().map(rated).collect();
    all.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    all
}

/// What the inputs make of the named sizes of a plan.
fn named_sizes(plan: &Plan, inputs: &[(String, Value)]) -> HashMap<String, i64> {
    let mut sizes = HashMap::new();
    for (name, value) in inputs {
        let port = plan.inputs.iter().find(|port| port.name == *name);
        let ty = port.and_then(|port| plan.graph.values.get(port.value.index())).and_then(|value| value.ty.as_tensor());
        let dims = ty.and_then(|ty| ty.dims().ok()).into_iter().flatten();
        for (dim, size) in dims.zip(value.as_tensor().iter().flat_map(|tensor| tensor.sizes())) {
            if let (Some(symbol), Ok(size)) = (dim.as_symbol(), i64::try_from(*size)) {
                sizes.insert(symbol.to_owned(), size);
            }
        }
    }
    sizes
}

/// Arithmetic of a step, where the sizes of the inputs decide it.
fn operations(step: &Step, sizes: &HashMap<String, i64>) -> Option<f64> {
    let body = step.launch()?.region.body();
    let mut total = 0.0;
    for node in body.nodes() {
        let inputs: Vec<Option<&ValueType>> = node.inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
        let outputs: Vec<ValueType> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        let cost = node.op.cost(&Operands::new(&inputs), &outputs);
        total += cost.operations.evaluate(&|name| sizes.get(name).copied())? as f64;
    }
    Some(total)
}

/// Writes the steps for people, longest first, and their sums by operator.
///
/// # Errors
/// Those of the writer.
pub fn show(steps: &[StepTime], operators: &[OperatorTime], out: &mut dyn Write) -> std::io::Result<()> {
    let rate = |gflops: Option<f64>| gflops.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
    let row = |time: &OperatorTime| {
        let (share, steps) = (format!("{:.1}", time.percent), time.steps.to_string());
        vec![time_text(time.ms), share, rate(time.gflops), steps, time.operators.join("+")]
    };
    let header = ["time", "%", "GFLOP/s", "steps", "operators"];
    writeln!(out, "{}\n", table(&header, &[0, 1, 2, 3], operators.iter().map(row).collect()))?;
    let mut sorted: Vec<&StepTime> = steps.iter().collect();
    sorted.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let row = |step: &StepTime| {
        let (share, tactic) = (format!("{:.1}", step.percent), step.tactic.clone().unwrap_or_default());
        vec![time_text(step.ms), share, rate(step.gflops), step.operators.join("+"), tactic, step.origins.join(", ")]
    };
    let header = ["time", "%", "GFLOP/s", "operators", "tactic", "source"];
    writeln!(out, "{}", table(&header, &[0, 1, 2], sorted.into_iter().map(row).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_by_operator() {
        let step = |depth: usize, ms: f64, operations: Option<f64>, name: &str| StepTime {
            ms,
            percent: 10.0 * ms,
            depth,
            operations,
            gflops: None,
            operators: vec![name.to_owned()],
            tactic: None,
            origins: Vec::new(),
        };
        let steps = [
            step(0, 1.0, Some(2e6), "MatMul"),
            step(0, 5.0, None, "NonZero"),
            step(0, 3.0, Some(6e6), "MatMul"),
            step(0, 2.0, Some(0.0), "Reshape"),
        ];
        let times = operator_times(&steps);
        let found = |at: usize| (times[at].operators[0].as_str(), times[at].steps, times[at].ms, times[at].gflops);
        assert_eq!(times.len(), 3);
        assert_eq!(found(0), ("NonZero", 1, 5.0, None));
        assert_eq!(found(1), ("MatMul", 2, 4.0, Some(2.0)));
        assert_eq!(found(2), ("Reshape", 1, 2.0, None));
        assert_eq!(times[1].percent, 40.0);
    }

    #[test]
    fn control_flow_counts_with_what_is_left_of_it() {
        let step = |depth: usize, ms: f64, name: &str| StepTime {
            ms,
            percent: ms,
            depth,
            operations: None,
            gflops: None,
            operators: vec![name.to_owned()],
            tactic: None,
            origins: Vec::new(),
        };
        let steps = [
            step(0, 90.0, "Loop"),
            step(1, 60.0, "If"),
            step(2, 50.0, "Add"),
            step(1, 20.0, "Add"),
            step(0, 10.0, "Add"),
        ];
        let times: Vec<(String, f64)> =
            operator_times(&steps).into_iter().map(|t| (t.operators.join("+"), t.ms)).collect();
        assert_eq!(times, [("Add".to_owned(), 80.0), ("Loop".to_owned(), 10.0), ("If".to_owned(), 10.0)]);
    }
}
