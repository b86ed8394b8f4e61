//! `sinter demo`: the tour, from a model to answers, without other files or programs.

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backends::BACK_ENDS;
use sinter::internals::base::{Tensor, Value};
use sinter::internals::import_onnx::decode::decode_binary;
use sinter::internals::import_onnx::{ImportError, ImportOptions, import_model};
use sinter::internals::ir::Network;
use sinter::internals::plan::{Plan, write};
use sinter::internals::runtime::Engine;
use sinter::internals::tensor_io::parse_npz;

use crate::commands::build::weight_bytes;
use crate::commands::diff::reference;
use crate::difference::{Bounds, Difference, differences};
use crate::drawing::side_by_side;
use crate::failure::{Exit, Failure};
use crate::files::Files;
use crate::flags::{DeviceFlags, JsonFlags, ModelFlags, show_bytes};
use crate::interrupt::while_writing;
use crate::output::deliver;
use crate::prepare::build_plan;
use crate::report::{PassSummary, fired, milliseconds, operators, pass_summaries, sources, tactic};
use sinter::internals::builder::Built;

const EXAMPLES: &str = "\
Examples:
  sinter demo
  sinter demo --threads 1 --json -";

/// The network; `scripts/train_demo.py` trains it.
const MODEL: &[u8] = include_bytes!("../../demo/digits.onnx");

/// Images that the training never saw, and their labels.
const DIGITS: &[u8] = include_bytes!("../../demo/digits.npz");

/// More than the unpacked digits need.
const MAX_BYTES: usize = 1 << 20;

/// Accuracy that the network was trained to.
const LEAST_ACCURACY: f64 = 0.97;

/// Sides and brightest pixel of an image.
const SIDE: usize = 8;
const BRIGHTEST: f64 = 16.0;

/// Images that are drawn; the last ones are wrong answers, if there are any.
const DRAWN: usize = 4;

/// Take the tour: a small network, from model to answers.
///
/// A convolutional network for handwritten digits, carried by this program, is imported, optimized, compared with the
/// reference executor, saved as a plan, loaded again and asked about images that it never saw. Needs no network and no file.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    #[command(flatten)]
    device: DeviceFlags,

    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter demo`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The device that the engine was built for.
    pub device: String,
    /// Bytes of the model.
    pub model_bytes: usize,
    /// Bytes of the plan.
    pub plan_bytes: u64,
    /// Bytes of weights in the plan.
    pub weight_bytes: u64,
    /// Nodes of the imported network.
    pub nodes: usize,
    /// What the passes did, in order.
    pub passes: Vec<PassSummary>,
    /// Steps of the plan.
    pub steps: usize,
    /// Steps that compute several operators at once.
    pub fused: Vec<Fused>,
    /// The engine against the reference executor on all images.
    pub verification: Difference,
    /// Images asked about.
    pub images: usize,
    /// Images answered as labelled.
    pub right: usize,
    /// Their share, from 0 to 1.
    pub accuracy: f64,
    /// Median milliseconds for one image.
    pub median_ms: f64,
    /// Milliseconds for all images at once.
    pub batch_ms: f64,
    /// Bytes of memory for values between steps, for all images at once.
    pub activation_bytes: u64,
}

/// A step that computes several operators.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fused {
    /// The nodes of the model.
    pub origins: Vec<String>,
    /// The operators of the step.
    pub operators: Vec<String>,
    /// Name of the kernel's tactic.
    pub tactic: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the engine disagrees with the reference executor or falls below the accuracy of training.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    arguments.json.name_files(&mut files);
    files.check()?;
    arguments.device.check();
    let (images, labels) = digits()?;
    let network = network()?;
    let Built { plan, passes, .. } = build_plan(&network, Vec::new(), &ModelFlags::default(), &arguments.device, &[])?;
    let (engine, plan_bytes) = saved_and_loaded(&plan, arguments.device.threads())?;

    let start = Instant::now();
    let scores = ask(&engine, &images)?;
    let batch = start.elapsed();
    let activation_bytes = engine.arena_bytes() as u64;
    let inputs = [("image".to_owned(), Value::Tensor(images.clone()))];
    let named = |value: Value| [("scores".to_owned(), value)];
    let expected = reference(&network, &inputs, ModelFlags::default().max_memory())?.swap_remove(0);
    let bounds = Bounds { atol: 1e-5, rtol: 1e-4, min_cosine: None };
    let verification = differences(&named(scores.clone().into()), &named(expected), &|_| bounds).swap_remove(0);

    let answers = Answers::of(&scores);
    let (times, single) = one_by_one(&engine, &images)?;
    if single.digits != answers.digits {
        return Err(internal("an image alone is answered otherwise than among others"));
    }
    let right = answers.digits.iter().zip(&labels).filter(|(a, b)| a == b).count();
    let report = Report {
        device: plan.target.to_string(),
        model_bytes: MODEL.len(),
        plan_bytes,
        weight_bytes: weight_bytes(&plan),
        nodes: network.body.nodes().len(),
        passes: pass_summaries(&passes),
        steps: plan.graph.steps.len(),
        fused: fused_steps(&plan),
        verification,
        images: labels.len(),
        right,
        accuracy: right as f64 / labels.len().max(1) as f64,
        median_ms: milliseconds(times[times.len() / 2]),
        batch_ms: milliseconds(batch),
        activation_bytes,
    };
    let drawing = draw(&images, &labels, &answers);
    deliver(&report, &arguments.json, |report, out| show(report, &drawing, out))?;
    if !report.verification.within {
        return Err(Failure::new(Exit::OutsideBounds, "the engine disagrees with the reference executor")
            .help("please report this"));
    }
    if report.accuracy < LEAST_ACCURACY {
        let what = format!("accuracy {:.4} is below that of training, {LEAST_ACCURACY}", report.accuracy);
        return Err(Failure::new(Exit::OutsideBounds, what).help("please report this"));
    }
    Ok(())
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Damaged, format!("the demo in this program does not work: {error}")).help("please report this")
}

fn network() -> Result<Network, Failure> {
    let model = decode_binary(bytes::Bytes::from_static(MODEL)).map_err(internal)?;
    import_model(&model, None, &ImportOptions::default()).map_err(|e: ImportError| internal(e))
}

/// The images as one batch, and their labels.
fn digits() -> Result<(Tensor, Vec<i64>), Failure> {
    let arrays = parse_npz(Cursor::new(DIGITS), Path::new("digits.npz"), MAX_BYTES).map_err(internal)?;
    let array = |name: &str| {
        let found = arrays.iter().find(|(n, _)| n == name).ok_or_else(|| internal(format!("no array '{name}'")))?;
        found.1.to_tensor(None).map_err(internal)
    };
    Ok((array("image")?, array("label")?.to_i64()))
}

/// Writes the plan and opens the file, as another program on another day would.
fn saved_and_loaded(plan: &Plan, threads: usize) -> Result<(Engine, u64), Failure> {
    while_writing(|| {
        let folder = tempfile::tempdir().map_err(|e| Failure::usage(format!("no folder for the plan: {e}")))?;
        let path = folder.path().join("digits.plan");
        write(&path, plan)?;
        let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
        Ok((Engine::open(&path, BACK_ENDS, threads)?, bytes))
    })
}

fn ask(engine: &Engine, images: &Tensor) -> Result<Tensor, Failure> {
    let results = engine.run(vec![("image".to_owned(), Value::Tensor(images.clone()))])?;
    results.first().and_then(Value::as_tensor).cloned().ok_or_else(|| internal("no scores"))
}

/// The digit with the highest score of each image, and the score.
struct Answers {
    digits: Vec<i64>,
    scores: Vec<f64>,
}

impl Answers {
    fn of(scores: &Tensor) -> Self {
        let classes = scores.sizes().last().copied().unwrap_or(1).max(1);
        let best = scores.to_floats().chunks(classes).map(best_of).collect::<Vec<_>>();
        Self { digits: best.iter().map(|(digit, _)| *digit).collect(), scores: best.iter().map(|(_, s)| *s).collect() }
    }
}

fn best_of(scores: &[f64]) -> (i64, f64) {
    (0i64..).zip(scores.iter().copied()).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// Asks about each image on its own; the times are sorted.
fn one_by_one(engine: &Engine, images: &Tensor) -> Result<(Vec<Duration>, Answers), Failure> {
    let mut times = Vec::new();
    let mut all = Answers { digits: Vec::new(), scores: Vec::new() };
    for pixels in images.to_floats().chunks(SIDE * SIDE) {
        let image = Tensor::from_floats(images.data_type(), &[1, 1, SIDE, SIDE], pixels).map_err(internal)?;
        let start = Instant::now();
        let scores = ask(engine, &image)?;
        times.push(start.elapsed());
        let answers = Answers::of(&scores);
        all.digits.extend(answers.digits);
        all.scores.extend(answers.scores);
    }
    times.sort_unstable();
    if times.is_empty() { Err(internal("no images")) } else { Ok((times, all)) }
}

/// Steps that compute more than one operator; a transpose at the edge of a step is a layout, no work.
fn fused_steps(plan: &Plan) -> Vec<Fused> {
    let mut all = Vec::new();
    for step in &plan.graph.steps {
        let mut operators = operators(step);
        operators.retain(|name| name != "Transpose");
        if operators.len() > 1 {
            all.push(Fused { origins: sources(step), operators, tactic: tactic(step) });
        }
    }
    all
}

/// A few digits with their answers; wrong ones, if any, come last.
fn draw(images: &Tensor, labels: &[i64], answers: &Answers) -> String {
    let pixels = images.to_floats();
    let is_wrong = |i: &usize| answers.digits[*i] != labels[*i];
    let wrong: Vec<usize> = (0..labels.len()).filter(is_wrong).take(1).collect();
    let mut shown: Vec<usize> = (0..labels.len()).filter(|i| !is_wrong(i)).take(DRAWN - wrong.len()).collect();
    shown.extend(wrong);
    let caption = |&i: &usize| {
        let answer = format!("{} ({:.0} %)", answers.digits[i], 100.0 * answers.scores[i]);
        if is_wrong(&i) { format!("{answer}, is {}", labels[i]) } else { answer }
    };
    let captions: Vec<String> = shown.iter().map(caption).collect();
    let drawn: Vec<&[f64]> = shown.iter().map(|i| &pixels[i * SIDE * SIDE..(i + 1) * SIDE * SIDE]).collect();
    side_by_side(&drawn, SIDE, BRIGHTEST, &captions)
}

fn show(report: &Report, drawing: &str, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "A convolutional network for handwritten digits, on {}\n", report.device)?;
    writeln!(out, "  imported   {} of ONNX, {} nodes", show_bytes(report.model_bytes as u64), report.nodes)?;
    writeln!(out, "  passes     {}", fired(&report.passes))?;
    writeln!(
        out,
        "  optimized  {} steps; {} of them compute several operators at once:",
        report.steps,
        report.fused.len()
    )?;
    for step in &report.fused {
        let kernel = step.tactic.as_deref().unwrap_or("control flow");
        writeln!(out, "               {} ({}) -> {kernel}", step.origins.join(" + "), step.operators.join(", "))?;
    }
    let error = report.verification.max_error.unwrap_or(f64::INFINITY);
    let result = if report.verification.within { "agrees with" } else { "DISAGREES with" };
    writeln!(
        out,
        "  verified   {result} the reference executor on {} images, largest error {error:.1e}",
        report.images
    )?;
    writeln!(out, "  saved      {} plan, loaded again", show_bytes(report.plan_bytes))?;
    writeln!(out, "  accuracy   {:.2} %, {} of {} images", 100.0 * report.accuracy, report.right, report.images)?;
    writeln!(out, "  latency    {:.3} ms one image, {:.3} ms all", report.median_ms, report.batch_ms)?;
    let memory = (show_bytes(report.weight_bytes), show_bytes(report.activation_bytes));
    writeln!(out, "  memory     weights {}, values of all images {}\n", memory.0, memory.1)?;
    writeln!(out, "{drawing}\n")?;
    writeln!(out, "Next: sinter build MODEL.onnx, then sinter bench MODEL.plan")
}
