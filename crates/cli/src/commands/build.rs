//! `sinter build`: a model becomes a plan.

use std::fmt::{Display, Formatter};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::builder::{Built, Engines};
use sinter::internals::plan::{Plan, SizeRange, is_plan, write};
use sinter::internals::source::{self, Source};

use crate::explain::{RegionReport, region_reports};
use crate::failure::Failure;
use crate::files::{Files, Form};
use crate::flags::{DeviceFlags, JsonFlags, ModelFlags, RangeFlags, show_bytes};
use crate::interrupt::while_writing;
use crate::output::{deliver, warn};
use crate::prepare::{build_plan, open_source};
use crate::progress::Stage;
use crate::report::{
    PassSummary, Port, PrecisionSummary, VerificationSummary, count, fired, pass_summaries, ports, precision_summary,
    seconds, seconds_since, verification_summary,
};

const EXAMPLES: &str = "\
Examples:
  sinter build model.onnx
  sinter build model.onnx -o /models/model.plan --threads 2
  sinter build model.onnx --shapes input:1x3x224x224
  sinter build model.onnx --precision bf16
  sinter build model.onnx --precision fp16 --layer-precision '*/norm*=fp32,logits=fp32'
  sinter build model.onnx --opt-shapes ids:1x128 --max-shapes ids:8x512 --tune-seconds 60
  sinter build model.onnx --tune-seconds 60 --timing-cache timings
  sinter build model.onnx --locked --timing-cache timings     the same plan again";

/// Make a plan of a model.
///
/// Reads an ONNX model, optimizes the network, chooses kernels and writes a plan: one file that runs without the model. All
/// problems of a model are reported at once. The plan appears complete or not at all.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// ONNX model; external data lies beneath its folder
    model: PathBuf,

    /// Where the plan goes [default: MODEL with .plan]
    #[arg(short, long, value_name = "PLAN")]
    output: Option<PathBuf>,

    #[command(flatten)]
    model_flags: ModelFlags,

    #[command(flatten)]
    ranges: RangeFlags,

    #[command(flatten)]
    device: DeviceFlags,

    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter build`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The model as given.
    pub model: String,
    /// The plan that was written.
    pub plan: String,
    /// Size of the plan in bytes.
    pub plan_bytes: u64,
    /// Bytes of weights in it.
    pub weight_bytes: u64,
    /// The device that it was built for.
    pub device: String,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Dynamic dimensions that have bounds.
    pub ranges: Vec<RangeSummary>,
    /// Bytes of memory for values between steps, at the largest sizes; absent when inputs may have any size.
    pub activation_bytes: Option<u64>,
    /// Nodes of the imported network.
    pub nodes: usize,
    /// What the passes did, in order.
    pub passes: Vec<PassSummary>,
    /// What the plan computes in; absent where it computes as the model says.
    pub precision: Option<PrecisionSummary>,
    /// The verification result.
    pub verification: VerificationSummary,
    /// Is it the result of an earlier build of the same plan, by `--verification-cache`?
    pub known_verification: bool,
    /// Steps of the plan.
    pub steps: usize,
    /// Nodes that run on the CPU, since the device has no kernel for them; the engine copies their values.
    pub on_host: Vec<String>,
    /// What the chosen kernels are expected to take, and what other choices would.
    pub cover: CoverSummary,
    /// How kernels were timed; absent when the build was not tuned.
    pub tuning: Option<TuningSummary>,
    /// Every region that was considered: kernels offered, timed, refused and why, and what was chosen.
    pub regions: Vec<RegionReport>,
    /// Seconds to read the model.
    pub import_seconds: f64,
    /// Seconds to make the plan.
    pub build_seconds: f64,
    /// Seconds to write it.
    pub write_seconds: f64,
}

/// Bounds of a dynamic dimension.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeSummary {
    /// Its name.
    pub size: String,
    /// Smallest value.
    pub min: i64,
    /// Largest value; absent when there is none.
    pub max: Option<i64>,
}

/// Expected times of one inference: of a model of the device, or of measured kernels where the build is tuned.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoverSummary {
    /// Microseconds with every operator by itself.
    pub single_us: f64,
    /// Microseconds with the regions that are cheapest without regard to layouts.
    pub greedy_us: f64,
    /// Microseconds of the plan.
    pub solved_us: f64,
}

/// How kernels were timed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuningSummary {
    /// Seconds that kernels and engines were timed.
    pub seconds: f64,
    /// Kernels of the regions considered that have a time, measured now or before.
    pub timed: usize,
    /// Kernels that there was no time left for.
    pub untimed: usize,
    /// The plan by times beside the plan by estimates, as whole engines; absent when they are the same.
    pub engines: Option<EnginesSummary>,
}

/// Two plans of one model as whole engines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnginesSummary {
    /// Milliseconds of one inference with kernels chosen by times.
    pub by_times_ms: Option<f64>,
    /// Milliseconds of one inference with kernels chosen by estimates.
    pub by_estimates_ms: Option<f64>,
    /// Why they could not be timed.
    pub trouble: Option<String>,
    /// Is the plan the one by times? It must be clearly faster.
    pub by_times: bool,
}

fn engines_summary(engines: &Engines) -> EnginesSummary {
    let (times, trouble) = match &engines.times {
        Ok(times) => (Some(*times), None),
        Err(reason) => (None, Some(reason.clone())),
    };
    EnginesSummary {
        by_times_ms: times.map(|times| times.0 * 1e-6),
        by_estimates_ms: times.map(|times| times.1 * 1e-6),
        trouble,
        by_times: engines.is_won_by_times(),
    }
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be imported or built, or the plan cannot be written.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    if is_plan(&arguments.model) {
        return Err(is_plan_already(&arguments.model));
    }
    let target = arguments.output.clone().unwrap_or_else(|| arguments.model.with_extension("plan"));
    let mut files = Files::default();
    files.reads_model("the model", &arguments.model);
    files.writes("-o", Some(&target), Form::File);
    arguments.model_flags.name_files(&mut files);
    arguments.json.name_files(&mut files);
    files.check()?;
    arguments.device.check();
    let start = Instant::now();
    let network = match open_source(&arguments.model, &arguments.model_flags, &[])? {
        Source::Model(network) => network,
        Source::Plan(_) => return Err(is_plan_already(&arguments.model)),
    };
    let import_seconds = seconds_since(start);
    let start = Instant::now();
    let nodes = network.body.nodes().len();
    let profiles = arguments.ranges.profiles(&network)?;
    let Built { plan, passes, verification, is_known_verification, regions, costs, tuned, on_island, .. } =
        build_plan(&network, profiles, &arguments.model_flags, &arguments.device, &[])?;
    let is_elsewhere = arguments.device.back_ends()?.main().is_elsewhere();
    if let (Some(reason), true) = (&verification.skipped, is_elsewhere) {
        warn(&format!("not verified: {reason}"));
    } else if let (Some(reason), false) = (&verification.skipped, arguments.model_flags.no_verify()) {
        let what = format!("the plan could not be verified: {reason}");
        return Err(Failure::usage(what).at(&arguments.model).help(
            "give --verify-data with inputs, or --shapes with sizes that the model takes, or --no-verify to go without",
        ));
    }
    let build_seconds = seconds_since(start);
    let start = Instant::now();
    {
        let _stage = Stage::named("writing");
        while_writing(|| write(&target, &plan))?;
    }
    let report = Report {
        model: arguments.model.display().to_string(),
        plan: target.display().to_string(),
        plan_bytes: std::fs::metadata(&target).map_or(0, |m| m.len()),
        weight_bytes: weight_bytes(&plan),
        device: plan.target.to_string(),
        inputs: ports(&source::plan_inputs(&plan)),
        outputs: ports(&source::plan_outputs(&plan)),
        ranges: plan.ranges().into_iter().map(range_summary).collect(),
        activation_bytes: sinter::internals::memory::arena_bytes(&plan),
        nodes,
        passes: pass_summaries(&passes),
        precision: plan.report.as_ref().and_then(|report| report.precision.as_ref()).map(precision_summary),
        verification: verification_summary(&plan.report.clone().unwrap_or_default().verification, &plan.target),
        known_verification: is_known_verification,
        steps: plan.graph.steps.len(),
        on_host: on_island.iter().map(ToString::to_string).collect(),
        cover: CoverSummary {
            single_us: costs.single as f64 * 1e-6,
            greedy_us: costs.greedy as f64 * 1e-6,
            solved_us: costs.solved as f64 * 1e-6,
        },
        tuning: tuned.map(|tuned| TuningSummary {
            seconds: seconds(tuned.spent),
            timed: regions.iter().flat_map(|r| &r.candidates).filter(|c| c.time.is_ok()).count(),
            untimed: tuned.untimed,
            engines: tuned.engines.as_ref().map(engines_summary),
        }),
        regions: region_reports(&regions),
        import_seconds,
        build_seconds,
        write_seconds: seconds_since(start),
    };
    deliver(&report, &arguments.json, show)
}

fn is_plan_already(model: &Path) -> Failure {
    Failure::usage("this is a plan already").at(model).help("`sinter run` runs it, `sinter inspect` shows it")
}

impl Display for EnginesSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let kept = if self.by_times { "by times" } else { "by estimates" };
        match (self.by_times_ms, self.by_estimates_ms, &self.trouble) {
            (Some(timed), Some(estimated), _) => {
                write!(f, "{timed:.3} ms by times, {estimated:.3} ms by estimates; the plan is the one {kept}")
            }
            (.., trouble) => {
                let why = trouble.as_deref().unwrap_or("no figures");
                write!(f, "not timed ({why}): the plan is the one {kept}; --verify-data gives inputs to time with")
            }
        }
    }
}

fn range_summary(range: SizeRange) -> RangeSummary {
    RangeSummary { size: range.symbol, min: range.low, max: Some(range.high).filter(|high| *high < i64::MAX) }
}

/// Bytes of all weights of a plan.
pub fn weight_bytes(plan: &Plan) -> u64 {
    plan.weights.iter().map(|w| w.tensor().bytes().len() as u64).sum()
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{} -> {}", report.model, report.plan)?;
    writeln!(out, "  device   {}", report.device)?;
    for port in &report.inputs {
        writeln!(out, "  input    {} {}", port.name, port.ty)?;
    }
    for port in &report.outputs {
        writeln!(out, "  output   {} {}", port.name, port.ty)?;
    }
    for RangeSummary { size, min, max } in &report.ranges {
        let range = SizeRange { symbol: size.clone(), low: *min, high: max.unwrap_or(i64::MAX) };
        writeln!(out, "  size     '{size}' {range}")?;
    }
    writeln!(out, "  passes   {}", fired(&report.passes))?;
    writeln!(out, "  steps    {} of {}", report.steps, count(report.nodes, "node"))?;
    if !report.on_host.is_empty() {
        writeln!(out, "  on CPU   {}: {}", count(report.on_host.len(), "node"), report.on_host.join(", "))?;
    }
    let CoverSummary { single_us, greedy_us, solved_us } = &report.cover;
    writeln!(
        out,
        "  cover    {solved_us:.1} us expected; {greedy_us:.1} us without regard to layouts, {single_us:.1} us one by one"
    )?;
    if let Some(TuningSummary { seconds, timed, untimed, engines }) = &report.tuning {
        write!(
            out,
            "  tuned    {} of {} timed, measured for {seconds:.1} s",
            count(*timed, "kernel"),
            count(report.regions.len(), "region")
        )?;
        match untimed {
            0 => writeln!(out)?,
            untimed => writeln!(out, "; the time was over for {untimed}: a larger --tune-seconds takes them in")?,
        }
        if let Some(engines) = engines {
            writeln!(out, "  engines  {engines}")?;
        }
    }
    for (heading, line) in report.precision.iter().flat_map(|precision| precision.lines(false)) {
        writeln!(out, "  {heading:<8} {line}")?;
    }
    for (heading, line) in report.verification.lines() {
        let known = if report.known_verification { " (known from an earlier build)" } else { "" };
        writeln!(out, "  {heading:<8} {line}{known}")?;
    }
    writeln!(out, "  plan     {}, weights {}", show_bytes(report.plan_bytes), show_bytes(report.weight_bytes))?;
    if let Some(bytes) = report.activation_bytes {
        writeln!(out, "  memory   {} between steps, at most", show_bytes(bytes))?;
    }
    let times = (report.import_seconds, report.build_seconds, report.write_seconds);
    writeln!(out, "  time     import {:.3} s, build {:.3} s, write {:.3} s", times.0, times.1, times.2)
}
