//! Where the time of an inference goes: by step, and by operator.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::base::{Value, ValueType};
use sinter::ops::Operands;
use sinter::plan::{Action, Plan, Step};
use sinter::runtime::{Engine, Profile};

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
    /// Arithmetic operations, a multiply-add as two; absent where they depend on more than the sizes of the inputs.
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

/// Runs an engine so many times and takes the time of every step, in execution order.
///
/// # Errors
/// When an inference fails.
pub fn step_times(engine: &Engine, inputs: &[(String, Value)], runs: usize) -> Result<Vec<StepTime>, Failure> {
    let stage = Stage::bar("profiling", runs as u64);
    let mut profile = Profile::new(engine);
    for run in 0..runs {
        engine.run_observed(inputs.to_vec(), &mut profile)?;
        stage.set(run as u64);
    }
    let plan = engine.plan();
    let sizes = named_sizes(plan, inputs);
    let total: Duration = profile.mean_times().sum();
    let mut rows = Vec::new();
    let mut add = |step: &Step, depth: usize, time: Duration| {
        // Operations are those of one pass, times those of all iterations.
        let operations = operations(step, &sizes).filter(|_| depth == 0);
        rows.push(StepTime {
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
    for (position, (step, time)) in plan.graph.steps.iter().zip(profile.mean_times()).enumerate() {
        add(step, 0, time);
        inner_times(step, &mut vec![position], &profile, &mut add);
    }
    Ok(rows)
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

/// The times by operators, longest first.
pub fn operator_times(steps: &[StepTime]) -> Vec<OperatorTime> {
    let mut all: Vec<(OperatorTime, Option<f64>)> = Vec::new();
    for step in steps.iter().filter(|step| step.depth == 0) {
        match all.iter_mut().find(|(known, _)| known.operators == step.operators) {
            Some((known, operations)) => {
                known.steps += 1;
                known.ms += step.ms;
                known.percent += step.percent;
                *operations = operations.zip(step.operations).map(|(a, b)| a + b);
            }
            None => {
                let &StepTime { ms, percent, operations, .. } = step;
                let operators = step.operators.clone();
                all.push((OperatorTime { operators, steps: 1, ms, percent, gflops: None }, operations));
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
    let Action::Kernel { region, .. } = &step.action else { return None };
    let body = region.body();
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
        vec![
            time_text(step.ms),
            share,
            rate(step.gflops),
            { "  ".repeat(step.depth) + &step.operators.join("+") },
            tactic,
            step.origins.join(", "),
        ]
    };
    let header = ["time", "%", "GFLOP/s", "operators", "tactic", "source"];
    writeln!(out, "{}", table(&header, &[0, 1, 2], sorted.into_iter().map(row).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_by_operator() {
        let step = |ms: f64, operations: Option<f64>, name: &str| StepTime {
            ms,
            percent: 10.0 * ms,
            depth: 0,
            operations,
            gflops: None,
            operators: vec![name.to_owned()],
            tactic: None,
            origins: Vec::new(),
        };
        let steps = [
            step(1.0, Some(2e6), "MatMul"),
            step(5.0, None, "NonZero"),
            step(3.0, Some(6e6), "MatMul"),
            step(2.0, Some(0.0), "Reshape"),
        ];
        let times = operator_times(&steps);
        let found = |at: usize| (times[at].operators[0].as_str(), times[at].steps, times[at].ms, times[at].gflops);
        assert_eq!(times.len(), 3);
        assert_eq!(found(0), ("NonZero", 1, 5.0, None));
        assert_eq!(found(1), ("MatMul", 2, 4.0, Some(2.0)));
        assert_eq!(found(2), ("Reshape", 1, 2.0, None));
        assert_eq!(times[1].percent, 40.0);
    }
}
