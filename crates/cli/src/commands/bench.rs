//! `sinter bench`: latency and throughput.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::Value;
use sinter::internals::runtime::Engine;
use sinter::internals::source::Source;

use crate::failure::Failure;
use crate::files::{Files, Form};
use crate::flags::{DeviceFlags, InputFlags, JsonFlags, ModelFlags, show_bytes};
use crate::output::{deliver, write_file};
use crate::prepare::{First, WithoutInputs, engine, first_run, open};
use crate::profile::{self, OperatorTime, StepTime, is_on_host, operator_times, step_times};
use crate::progress::Stage;
use crate::report::{Port, count, milliseconds, time_text, type_text};
use crate::self_test::{before_runs, tier_here};

const EXAMPLES: &str = "\
Examples:
  sinter bench model.plan
  sinter bench model.plan --inputs x.npz --seconds 10 --json -
  sinter bench model.plan --shapes input:8x3x224x224         inputs of these sizes, synthetic
  sinter bench model.plan --iterations 1000 --percentiles 50,99,99.9
  sinter bench model.plan --streams 4 --threads 1            four callers at once: what a server would get
  sinter bench model.plan --profile                          which step takes how long
  sinter bench model.onnx --shapes input:8x3x224x224         build in memory, then measure";

/// At least this many inferences are measured, however long they take.
const MIN_RUNS: usize = 3;

/// Measure latency and throughput.
///
/// Runs inferences one after the other, or in several streams at once, and times each as a caller sees it: one blocking call, from values in the caller's
/// memory to results in the caller's memory; of a GPU, also the time of its work alone. Without --inputs the values are synthetic: floats are standard normal, masks are
/// ones, integers are those that a plan was verified with, else they lie in 0..60 or where the model wants them. Dynamic dimensions
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

    /// Inferences to measure, instead of a time
    #[arg(long, value_name = "N", conflicts_with = "seconds", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,

    /// Callers that run inferences at the same time, each one after the other
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    streams: u16,

    /// Seconds to run before measuring
    #[arg(long, value_name = "S", default_value_t = 0.2, allow_negative_numbers = true, value_parser = seconds)]
    warmup: f64,

    /// Latencies to show, each that so many percent of the inferences keep
    #[arg(long, value_name = "P,...", value_delimiter = ',', default_value = "90,95,99", allow_negative_numbers = true,
          value_parser = percent)]
    percentiles: Vec<f64>,

    /// Also time every step, in further runs
    #[arg(long)]
    profile: bool,

    /// Write the latency of every inference, in order, to a JSON file: a list of milliseconds
    #[arg(long, value_name = "FILE")]
    export_times: Option<PathBuf>,

    /// First run the plan's self-test vectors, and end with 1 when an output is not the known one
    #[arg(long)]
    self_test: bool,

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

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| format!("'{text}' is no percentage; write 50,90,99.9, say"))
}

/// Result of `sinter bench`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The file as given.
    pub file: String,
    /// The device that the engine was built for.
    pub device: String,
    /// Instructions that its kernels use here.
    pub tier: String,
    /// Threads of one inference.
    pub threads: usize,
    /// Threads that kernels were chosen for.
    pub built_threads: usize,
    /// Inputs with the sizes that were run.
    pub inputs: Vec<Port>,
    /// Inferences measured.
    pub runs: usize,
    /// Shortest latency in milliseconds.
    pub min_ms: f64,
    /// Longest latency in milliseconds.
    pub max_ms: f64,
    /// Standard deviation of the latencies in milliseconds.
    pub deviation_ms: f64,
    /// Mean latency in milliseconds.
    pub mean_ms: f64,
    /// Median latency in milliseconds: one blocking call, from the caller's values to the caller's results.
    pub median_ms: f64,
    /// Median time of the work on the device in milliseconds, without copies between caller and device; absent on the CPU.
    pub device_ms: Option<f64>,
    /// Latency that 90 % of the inferences keep, in milliseconds.
    pub p90_ms: f64,
    /// Latency that 95 % of the inferences keep, in milliseconds.
    pub p95_ms: f64,
    /// Latency that 99 % of the inferences keep, in milliseconds.
    pub p99_ms: f64,
    /// The latencies that `--percentiles` asks for.
    pub percentiles: Vec<Percentile>,
    /// Callers at the same time.
    pub streams: usize,
    /// Inferences per second of all streams together.
    pub throughput: f64,
    /// Samples of one inference: the first size of all inputs and outputs; absent when they do not share it.
    pub batch: Option<usize>,
    /// Samples per second; absent as `batch` is.
    pub samples_per_second: Option<f64>,
    /// Milliseconds to open the plan, check it and load its kernels; absent when a model was built.
    pub load_ms: Option<f64>,
    /// Milliseconds of the very first inference, which also places the memory.
    pub first_ms: f64,
    /// Bytes of the memory for values between steps.
    pub activation_bytes: u64,
    /// Outputs of self-test vectors that are the known ones; only with `--self-test`.
    pub self_test: Option<usize>,
    /// Where the latency of every inference was written.
    pub times: Option<String>,
    /// Time of every step in execution order; only with `--profile`.
    pub profile: Option<Vec<StepTime>>,
    /// The same by operators, longest first.
    pub operators: Option<Vec<OperatorTime>>,
}

/// A latency that a part of the inferences keeps.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Percentile {
    /// How many, in percent.
    pub percent: f64,
    /// The latency in milliseconds.
    pub ms: f64,
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
    files.writes("--export-times", arguments.export_times.as_deref(), Form::File);
    arguments.json.name_files(&mut files);
    files.check()?;
    arguments.device.check();
    let opened = open(&arguments.file, &arguments.model, &arguments.inputs, WithoutInputs::Generate)?;
    let is_plan = matches!(opened.source, Source::Plan(_));
    let start = Instant::now();
    let engine = engine(opened.source, &arguments.model, &arguments.device, &opened.inputs)?.engine;
    let load = is_plan.then(|| opened.opened_in + start.elapsed());
    let self_test = before_runs(&engine, is_plan, arguments.device.threads(), arguments.self_test)?;
    let start = Instant::now();
    let First { inputs, outputs, time: first } = first_run(&engine, opened.inputs, opened.spare, &arguments.inputs)?;
    let batch = batch(&inputs, &outputs);
    drop(outputs);
    let warmup = Duration::from_secs_f64(arguments.warmup);
    while start.elapsed() < warmup {
        engine.run(inputs.clone())?;
    }
    let budget = match arguments.iterations {
        Some(runs) => Budget::Runs(runs as usize),
        None => Budget::Time(Duration::from_secs_f64(arguments.seconds)),
    };
    let streams = usize::from(arguments.streams);
    let Measured { mut times, wall } = measure(&engine, &inputs, budget, streams)?;
    if let Some(path) = &arguments.export_times {
        let all: Vec<f64> = times.iter().copied().map(milliseconds).collect();
        write_file(path, serde_json::json!(all).to_string().as_bytes())?;
    }
    let device_ms = device_time(&engine, &inputs, times.len())?;
    let profile = match arguments.profile {
        true => Some(step_times(&engine, &inputs, times.len())?),
        false => None,
    };
    times.sort_unstable();
    let total: Duration = times.iter().sum();
    // The time of a single caller between inferences is not time of the engine.
    let lasted = if streams == 1 { total } else { wall };
    let throughput = times.len() as f64 / lasted.as_secs_f64().max(f64::MIN_POSITIVE);
    let port = |(name, value): &(String, Value)| Port { name: name.clone(), ty: type_text(&value.value_type()) };
    let report = Report {
        file: arguments.file.display().to_string(),
        device: engine.plan().target.to_string(),
        tier: tier_here(engine.plan(), arguments.device.threads()),
        threads: arguments.device.threads(),
        built_threads: engine.plan().target.units,
        inputs: inputs.iter().map(port).collect(),
        runs: times.len(),
        min_ms: percentile(&times, 0.0),
        max_ms: percentile(&times, 100.0),
        mean_ms: milliseconds(total / u32::try_from(times.len()).unwrap_or(u32::MAX)),
        deviation_ms: deviation(&times),
        median_ms: percentile(&times, 50.0),
        device_ms,
        p90_ms: percentile(&times, 90.0),
        p95_ms: percentile(&times, 95.0),
        p99_ms: percentile(&times, 99.0),
        percentiles: arguments
            .percentiles
            .iter()
            .map(|p| Percentile { percent: *p, ms: percentile(&times, *p) })
            .collect(),
        streams,
        throughput,
        batch,
        samples_per_second: batch.map(|batch| batch as f64 * throughput),
        load_ms: load.map(milliseconds),
        first_ms: milliseconds(first),
        activation_bytes: engine.arena_bytes() as u64,
        self_test,
        times: arguments.export_times.as_ref().map(|path| path.display().to_string()),
        operators: profile.as_deref().map(operator_times),
        profile,
    };
    deliver(&report, &arguments.json, show)
}

/// Runs of which the time on the device is measured at most.
const MOST_DEVICE_RUNS: usize = 200;

/// The median of the times on the device of some further runs, where the device is not the host itself.
fn device_time(engine: &Engine, inputs: &[(String, Value)], runs: usize) -> Result<Option<f64>, Failure> {
    if is_on_host(engine) {
        return Ok(None);
    }
    let mut context = engine.context();
    let mut bindings = context.bindings();
    for (name, value) in inputs {
        bindings.set(name, value.clone())?;
    }
    // The first run places buffers and records the launches.
    context.run_into(&mut bindings)?;
    let mut times = Vec::new();
    for _ in 0..runs.clamp(MIN_RUNS, MOST_DEVICE_RUNS) {
        times.push(context.run_timed(&mut bindings)?);
    }
    times.sort_unstable();
    Ok(Some(percentile(&times, 50.0)))
}

/// How long to measure.
#[derive(Clone, Copy)]
enum Budget {
    /// For a time, and at least `MIN_RUNS` inferences.
    Time(Duration),
    /// For so many inferences.
    Runs(usize),
}

/// Times of inferences.
struct Measured {
    /// In order, stream by stream.
    times: Vec<Duration>,
    /// From the first begin to the last end.
    wall: Duration,
}

/// Runs streams side by side; progress is that of the first one.
fn measure(engine: &Engine, inputs: &[(String, Value)], budget: Budget, streams: usize) -> Result<Measured, Failure> {
    let begin = Instant::now();
    let done = std::thread::scope(|scope| {
        // The first streams take the runs that do not divide evenly.
        let own = |stream: usize| match budget {
            Budget::Time(time) => Budget::Time(time),
            Budget::Runs(all) => Budget::Runs(all / streams + usize::from(stream < all % streams)),
        };
        let others: Vec<_> = (1..streams)
            .map(|stream| scope.spawn(move || measure_stream(engine, inputs, own(stream), false)))
            .collect();
        let mut done = vec![measure_stream(engine, inputs, own(0), true)];
        done.extend(others.into_iter().map(|other| match other.join() {
            Ok(times) => times,
            Err(payload) => std::panic::resume_unwind(payload),
        }));
        done
    });
    let wall = begin.elapsed();
    let times = done.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    Ok(Measured { times, wall })
}

/// Times of one stream's inferences.
fn measure_stream(
    engine: &Engine,
    inputs: &[(String, Value)],
    budget: Budget,
    is_shown: bool,
) -> Result<Vec<Duration>, Failure> {
    let parts = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let whole = match budget {
        Budget::Time(all) => parts(all),
        Budget::Runs(all) => all as u64,
    };
    let stage = is_shown.then(|| Stage::bar("measuring", whole));
    let mut times = Vec::new();
    let mut shown = Instant::now();
    let begin = Instant::now();
    while match budget {
        Budget::Time(all) => times.len() < MIN_RUNS || begin.elapsed() < all,
        Budget::Runs(all) => times.len() < all,
    } {
        let start = Instant::now();
        let outputs = engine.run(inputs.to_vec())?;
        times.push(start.elapsed());
        drop(outputs);
        // The bar is drawn between measurements and seldom, because drawing disturbs caches.
        if is_shown && shown.elapsed() > Duration::from_millis(200) {
            if let Some(stage) = &stage {
                stage.set(match budget {
                    Budget::Time(_) => parts(begin.elapsed()),
                    Budget::Runs(_) => times.len() as u64,
                });
            }
            shown = Instant::now();
        }
    }
    Ok(times)
}

/// The first size of all inputs and outputs, where they share one.
fn batch(inputs: &[(String, Value)], outputs: &[Value]) -> Option<usize> {
    let first = |value: &Value| value.as_tensor()?.sizes().first().copied();
    let mut sizes = inputs.iter().map(|(_, value)| first(value)).chain(outputs.iter().map(first));
    let batch = sizes.next()??;
    sizes.all(|size| size == Some(batch)).then_some(batch)
}

/// The time that `percent` of the sorted times keep (nearest rank).
fn percentile(sorted: &[Duration], percent: f64) -> f64 {
    // 99.9 % of 1000 is 999; floats give a little more.
    let rank = (sorted.len() as f64 * percent / 100.0 - 1e-9).ceil().max(1.0) as usize;
    sorted.get(rank - 1).map_or(0.0, |time| milliseconds(*time))
}

/// Standard deviation of the times in milliseconds.
fn deviation(times: &[Duration]) -> f64 {
    let ms: Vec<f64> = times.iter().copied().map(milliseconds).collect();
    let mean = ms.iter().sum::<f64>() / ms.len().max(1) as f64;
    (ms.iter().map(|ms| (ms - mean).powi(2)).sum::<f64>() / ms.len().max(1) as f64).sqrt()
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    let built = match report.built_threads == report.threads {
        true => String::new(),
        false => format!(" (built for {})", report.built_threads),
    };
    writeln!(out, "{} on {}, {}{built}", report.file, report.tier, count(report.threads, "thread"))?;
    for input in &report.inputs {
        writeln!(out, "  input       {} {}", input.name, input.ty)?;
    }
    let [median, mean, min, max, deviation] =
        [report.median_ms, report.mean_ms, report.min_ms, report.max_ms, report.deviation_ms].map(time_text);
    writeln!(out, "  latency     median {median}, mean {mean}, min {min}, max {max}, deviation {deviation}")?;
    let percentiles = report.percentiles.iter().map(|p| format!("p{} {}", p.percent, time_text(p.ms)));
    writeln!(out, "              {}", percentiles.collect::<Vec<_>>().join(", "))?;
    if let Some(device) = report.device_ms {
        writeln!(out, "  on device   median {}, without copies", time_text(device))?;
    }
    let streams = if report.streams > 1 { format!(" in {} streams", report.streams) } else { String::new() };
    write!(out, "  throughput  {:.1} inferences/s{streams} over {}", report.throughput, count(report.runs, "run"))?;
    match (report.samples_per_second, report.batch) {
        (Some(samples), Some(batch)) if batch > 1 => writeln!(out, "; {samples:.1} samples/s, {batch} each")?,
        _ => writeln!(out)?,
    }
    if let Some(load) = report.load_ms {
        writeln!(out, "  load        {}", time_text(load))?;
    }
    writeln!(out, "  first run   {}", time_text(report.first_ms))?;
    writeln!(out, "  activations {}", show_bytes(report.activation_bytes))?;
    if let Some(known) = report.self_test {
        writeln!(out, "  self-test   {} as known", count(known, "output"))?;
    }
    if let Some(times) = &report.times {
        writeln!(out, "  times       {times}")?;
    }
    match (&report.profile, &report.operators) {
        (Some(steps), Some(operators)) => {
            writeln!(out)?;
            profile::show(steps, operators, out)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter::internals::base::Tensor;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        for (percent, wanted) in
            [(0.0, 1.0), (50.0, 100.0), (99.0, 198.0), (99.5, 199.0), (99.9, 200.0), (100.0, 200.0)]
        {
            assert_eq!(percentile(&times, percent), wanted, "{percent}");
        }
        assert_eq!(percentile(&times[..1], 99.0), 1.0);
        let thousand: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        assert_eq!(percentile(&thousand, 99.9), 999.0);
        assert_eq!(deviation(&[1, 3].map(Duration::from_millis)), 1.0);
        assert!(seconds("-1").is_err() && seconds("x").is_err() && seconds("NaN").is_err() && seconds("0.3").is_ok());
        assert!(percent("101").is_err() && percent("NaN").is_err() && percent("99.9").is_ok());
    }

    #[test]
    fn a_batch_is_what_all_inputs_and_outputs_share() {
        let of = |sizes: &[usize]| Value::Tensor(Tensor::from_vec(sizes, vec![0f32; sizes.iter().product()]).unwrap());
        let named = |sizes: &[usize]| ("x".to_owned(), of(sizes));
        assert_eq!(batch(&[named(&[4, 3]), named(&[4])], &[of(&[4, 2])]), Some(4));
        assert_eq!(batch(&[named(&[4, 3])], &[of(&[2, 4])]), None);
        assert_eq!(batch(&[named(&[4, 3])], &[of(&[])]), None);
        assert_eq!(batch(&[], &[]), None);
    }
}
