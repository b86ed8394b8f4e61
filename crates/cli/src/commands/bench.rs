//! `sinter bench`: latency and throughput.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::base::Value;
use sinter::plan::{Action, Step};
use sinter::runtime::{Engine, Profile};
use sinter::source::Source;

use crate::failure::Failure;
use crate::files::Files;
use crate::flags::{DeviceFlags, InputFlags, JsonFlags, ModelFlags, show_bytes};
use crate::output::deliver;
use crate::prepare::{WithoutInputs, engine, open, refusal};
use crate::progress::Stage;
use crate::report::{Port, count, milliseconds, operators, sources, table, tactic, type_text};

const EXAMPLES: &str = "\
Examples:
  sinter bench model.plan
  sinter bench model.plan --inputs x.npz --seconds 10 --json -
  sinter bench model.plan --profile                          which step takes how long
  sinter bench model.onnx --shapes input:8x3x224x224         build in memory, then measure";

/// At least this many inferences are measured, however long they take.
const MIN_RUNS: usize = 3;

/// Measure latency and throughput.
///
/// Runs inferences one after the other and times each as a caller sees it: one blocking call, from values in the caller's
/// memory to results in the caller's memory. Without --inputs the values are made up: floats are standard normal, masks are
/// ones, integers are those that a plan was verified with, else they lie in 0..60 or where the model wants them. Free sizes
/// are 1, or as near as the model takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Plan or ONNX model
    #[arg(value_name = "PLAN_OR_MODEL")]
    file: PathBuf,

    #[command(flatten)]
    inputs: InputFlags,

    /// Seconds to measure
    #[arg(long, value_name = "S", default_value_t = 3.0, allow_negative_numbers = true, value_parser = seconds)]
    seconds: f64,

    /// Seconds to run before measuring
    #[arg(long, value_name = "S", default_value_t = 0.2, allow_negative_numbers = true, value_parser = seconds)]
    warmup: f64,

    /// Also time every step, in further runs
    #[arg(long)]
    profile: bool,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    device: DeviceFlags,

    #[command(flatten)]
    json: JsonFlags,
}

/// Longest time that `--seconds` and `--warmup` take: a day.
const MAX_SECONDS: f64 = 86400.0;

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("'{text}' is no number of seconds"))?;
    if (0.0..=MAX_SECONDS).contains(&number) { Ok(number) } else { Err(format!("must lie in 0 to {MAX_SECONDS}")) }
}

/// Result of `sinter bench`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The file as given.
    pub file: String,
    /// The device that the engine was built for.
    pub device: String,
    /// Threads of one inference.
    pub threads: usize,
    /// Inputs with the sizes that were run.
    pub inputs: Vec<Port>,
    /// Inferences measured.
    pub runs: usize,
    /// Shortest latency in milliseconds.
    pub min_ms: f64,
    /// Mean latency in milliseconds.
    pub mean_ms: f64,
    /// Median latency in milliseconds: one blocking call, from the caller's values to the caller's results.
    pub median_ms: f64,
    /// Latency that 90 % of the inferences keep, in milliseconds.
    pub p90_ms: f64,
    /// Latency that 95 % of the inferences keep, in milliseconds.
    pub p95_ms: f64,
    /// Latency that 99 % of the inferences keep, in milliseconds.
    pub p99_ms: f64,
    /// Inferences per second, one after the other.
    pub throughput: f64,
    /// Milliseconds to open the plan, check it and load its kernels; absent when a model was built.
    pub load_ms: Option<f64>,
    /// Milliseconds of the very first inference, which also places the memory.
    pub first_ms: f64,
    /// Bytes of the memory for values between steps.
    pub activation_bytes: u64,
    /// Time of every step in execution order; only with `--profile`.
    pub profile: Option<Vec<StepTime>>,
}

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
    /// The operators that it computes.
    pub operators: Vec<String>,
    /// Name of the kernel's tactic; absent for control flow.
    pub tactic: Option<String>,
    /// Nodes of the model that it comes from.
    pub origins: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When files cannot be read or an inference fails.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    files.reads_model("the plan or model", &arguments.file);
    arguments.inputs.name_files(&mut files);
    arguments.model.name_files(&mut files);
    arguments.json.name_files(&mut files);
    files.check()?;
    let opened = open(&arguments.file, &arguments.model, &arguments.inputs, WithoutInputs::Generate)?;
    let is_plan = matches!(opened.source, Source::Plan(_));
    let start = Instant::now();
    let engine = engine(opened.source, &arguments.model, &arguments.device, &opened.inputs)?.engine;
    let load = is_plan.then(|| opened.opened_in + start.elapsed());
    let mut inputs = opened.inputs;
    let mut start = Instant::now();
    if let Err(error) = engine.run(inputs.clone()) {
        // Nothing says beforehand which sizes a plan takes.
        inputs = opened.spare.ok_or_else(|| refusal(error, &arguments.inputs))?;
        start = Instant::now();
        engine.run(inputs.clone())?;
    }
    let first = start.elapsed();
    let warmup = Duration::from_secs_f64(arguments.warmup);
    while start.elapsed() < warmup {
        engine.run(inputs.clone())?;
    }
    let mut times = measure(&engine, &inputs, Duration::from_secs_f64(arguments.seconds))?;
    let profile = match arguments.profile {
        true => Some(step_times(&engine, &inputs, times.len())?),
        false => None,
    };
    times.sort_unstable();
    let total: Duration = times.iter().sum();
    let mean = total / u32::try_from(times.len()).unwrap_or(u32::MAX);
    let port = |(name, value): &(String, Value)| Port { name: name.clone(), ty: type_text(&value.value_type()) };
    let report = Report {
        file: arguments.file.display().to_string(),
        device: engine.plan().target.to_string(),
        threads: arguments.device.threads(),
        inputs: inputs.iter().map(port).collect(),
        runs: times.len(),
        min_ms: percentile(&times, 0),
        mean_ms: milliseconds(mean),
        median_ms: percentile(&times, 50),
        p90_ms: percentile(&times, 90),
        p95_ms: percentile(&times, 95),
        p99_ms: percentile(&times, 99),
        throughput: times.len() as f64 / total.as_secs_f64().max(f64::MIN_POSITIVE),
        load_ms: load.map(milliseconds),
        first_ms: milliseconds(first),
        activation_bytes: engine.arena_bytes() as u64,
        profile,
    };
    deliver(&report, &arguments.json, show)
}

/// Times of inferences, at least for `budget` and at least `MIN_RUNS`.
fn measure(engine: &Engine, inputs: &[(String, Value)], budget: Duration) -> Result<Vec<Duration>, Failure> {
    let stage = Stage::bar("measuring", budget.as_millis().try_into().unwrap_or(u64::MAX));
    let mut times = Vec::new();
    let mut shown = Instant::now();
    let begin = Instant::now();
    while times.len() < MIN_RUNS || begin.elapsed() < budget {
        let start = Instant::now();
        let outputs = engine.run(inputs.to_vec())?;
        times.push(start.elapsed());
        drop(outputs);
        // Between measurements, and seldom: drawing disturbs caches.
        if shown.elapsed() > Duration::from_millis(200) {
            stage.set(begin.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
            shown = Instant::now();
        }
    }
    Ok(times)
}

fn step_times(engine: &Engine, inputs: &[(String, Value)], runs: usize) -> Result<Vec<StepTime>, Failure> {
    let stage = Stage::bar("profiling", runs as u64);
    let mut profile = Profile::new(engine);
    for run in 0..runs {
        engine.run_observed(inputs.to_vec(), &mut profile)?;
        stage.set(run as u64);
    }
    let total: Duration = profile.mean_times().sum();
    let mut rows = Vec::new();
    let mut add = |step: &Step, depth: usize, time: Duration| {
        rows.push(StepTime {
            ms: milliseconds(time),
            percent: 100.0 * time.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE),
            depth,
            operators: operators(step),
            tactic: tactic(step),
            origins: sources(step),
        });
    };
    for (position, (step, time)) in engine.plan().graph.steps.iter().zip(profile.mean_times()).enumerate() {
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

/// The time that `percent` of the sorted times keep (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |time| milliseconds(*time))
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{} on {}, {}", report.file, report.device, count(report.threads, "thread"))?;
    for input in &report.inputs {
        writeln!(out, "  input       {} {}", input.name, input.ty)?;
    }
    writeln!(
        out,
        "  latency     median {:.3} ms, mean {:.3}, min {:.3}",
        report.median_ms, report.mean_ms, report.min_ms
    )?;
    writeln!(out, "              p90 {:.3} ms, p95 {:.3}, p99 {:.3}", report.p90_ms, report.p95_ms, report.p99_ms)?;
    writeln!(out, "  throughput  {:.1} inferences/s over {}", report.throughput, count(report.runs, "run"))?;
    if let Some(load) = report.load_ms {
        writeln!(out, "  load        {load:.3} ms")?;
    }
    writeln!(out, "  first run   {:.3} ms", report.first_ms)?;
    writeln!(out, "  activations {}", show_bytes(report.activation_bytes))?;
    let Some(profile) = &report.profile else { return Ok(()) };
    let mut steps: Vec<&StepTime> = profile.iter().collect();
    steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let row = |step: &StepTime| {
        let origin = step.origins.join(", ");
        let tactic = step.tactic.clone().unwrap_or_default();
        let operators = format!("{}{}", "  ".repeat(step.depth), step.operators.join("+"));
        vec![format!("{:.4}", step.ms), format!("{:.1}", step.percent), operators, tactic, origin]
    };
    let rows = steps.into_iter().map(row).collect();
    writeln!(out, "{}", table(&["ms", "%", "operators", "tactic", "source"], &[0, 1], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0), 1.0);
        assert_eq!(percentile(&times, 50), 100.0);
        assert_eq!(percentile(&times, 99), 198.0);
        assert_eq!(percentile(&times[..1], 99), 1.0);
        assert!(seconds("-1").is_err() && seconds("x").is_err() && seconds("NaN").is_err() && seconds("0.3").is_ok());
    }
}
