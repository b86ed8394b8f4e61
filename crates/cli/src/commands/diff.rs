//! `sinter diff`: compares the engine's results with those of the reference executor, or with given ones.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::Value;
use sinter::internals::interp::{FastEvaluator, run_within};
use sinter::internals::ir::Network;
use sinter::internals::ops::{Arguments, EvalContext, EvalError, Evaluator, Memory, Op};
use sinter::internals::source;
use sinter::internals::values::{self, Role};

use crate::bounds::Allowed;
use crate::difference::{Difference, differences};
use crate::failure::{Exit, Failure};
use crate::files::Files;
use crate::flags::{DeviceFlags, InputFlags, JsonFlags, ModelFlags};
use crate::output::deliver;
use crate::prepare::{WithoutInputs, engine, open, refusal};
use crate::progress::Stage;
use crate::report::{count, table};
use crate::trace::{Trace, TracedNode, trace};

const EXAMPLES: &str = "\
Examples:
  sinter diff model.onnx --inputs x.npz                      against the reference executor
  sinter diff model.plan --inputs x.npz --expect y.npz       against results from elsewhere
  sinter diff model-int8.onnx --inputs x.npz --min-cosine 0.97
  sinter diff model.onnx --inputs x.npz --trace              which region is the first bad one";

/// Compare the engine with the reference executor, or with given outputs.
///
/// The reference executor computes every operator plainly in float64, as the model was imported, with none of the engine's kernels. An
/// output is within its bounds when max |a - b| <= atol + rtol * max |expected|, or, with --min-cosine, when the angle
/// between both is small enough. Ends with code 1 when one is not. Without --inputs the values are synthetic, as for `sinter
/// bench`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Plan or ONNX model; a plan needs --expect
    #[arg(value_name = "PLAN_OR_MODEL")]
    file: PathBuf,

    #[command(flatten)]
    inputs: InputFlags,

    /// Expected outputs: an .npz file by name, or a folder of output_0.pb, ... [default: the reference executor's]
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    #[command(flatten)]
    bounds: BoundFlags,

    /// Compare the results of every step, and name the first bad region; needs the model
    #[arg(long)]
    trace: bool,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    device: DeviceFlags,

    #[command(flatten)]
    json: JsonFlags,
}

/// How far results may differ.
#[derive(Args, Clone, Copy, Debug)]
struct BoundFlags {
    /// Absolute part of the bound
    #[arg(long, value_name = "E", default_value_t = 1e-4, allow_negative_numbers = true, value_parser = bound)]
    atol: f64,

    /// Part of the bound that is relative to the largest expected element [default: by type, 1e-3 for f32]
    ///
    /// By the coarsest type that is rounded to on the way to an output: four units in its last place where that is more,
    /// 3.9e-3 for f16 and 3.1e-2 for bf16.
    #[arg(long, value_name = "E", allow_negative_numbers = true, value_parser = bound)]
    rtol: Option<f64>,

    /// Instead of the bound: smallest cosine of the angle between results, for quantized models
    #[arg(long, value_name = "C", allow_negative_numbers = true, value_parser = cosine)]
    min_cosine: Option<f64>,
}

fn bound(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|v| *v >= 0.0).ok_or_else(|| format!("'{text}' is no bound; write 1e-4, say"))
}

fn cosine(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|v| (-1.0..=1.0).contains(v));
    value.ok_or_else(|| format!("'{text}' is no cosine; it lies between -1 and 1"))
}

/// Result of `sinter diff`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The file as given.
    pub file: String,
    /// What the engine was compared with: `reference`, or the file of expected outputs.
    pub against: String,
    /// Are all outputs within their bounds?
    pub within: bool,
    /// Where the engine and the reference executor differ; only with `--trace`.
    pub trace: Option<Trace>,
    /// The outputs that were compared; elements of sequences stand on their own.
    pub outputs: Vec<Difference>,
}

/// Runs the command.
///
/// # Errors
/// When an output is outside its bounds, files cannot be read, or the inference fails.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    files.reads_model("the plan or model", &arguments.file);
    arguments.inputs.name_files(&mut files);
    files.reads("the expected outputs", arguments.expect.as_deref());
    arguments.model.name_files(&mut files);
    arguments.json.name_files(&mut files);
    files.check()?;
    arguments.device.check();
    let opened = open(&arguments.file, &arguments.model, &arguments.inputs, WithoutInputs::Generate)?;
    let ready = engine(opened.source, &arguments.model, &arguments.device, &opened.inputs)?;
    let found = ready.engine.run(opened.inputs.clone()).map_err(|error| refusal(error, &arguments.inputs))?;
    let names: Vec<String> = ready.engine.output_names().map(str::to_owned).collect();
    let found: Vec<(String, Value)> = names.iter().cloned().zip(found).collect();
    let (against, expected) = match (&arguments.expect, &ready.networks) {
        (Some(path), _) => {
            let declared = source::plan_outputs(ready.engine.plan());
            let limit = usize::try_from(arguments.model.max_memory()).unwrap_or(usize::MAX);
            (path.display().to_string(), values::read(path, Role::Output, &declared, limit)?)
        }
        (None, Some((imported, _))) => (
            "reference".to_owned(),
            names.into_iter().zip(reference(imported, &opened.inputs, arguments.model.max_memory())?).collect(),
        ),
        (None, None) => {
            return Err(Failure::usage("a plan holds no model that the reference executor could run")
                .at(&arguments.file)
                .help("hand in the model instead of the plan, or give --expect"));
        }
    };
    if expected.is_empty() {
        return Err(Failure::usage("there is no output to compare with")
            .at(arguments.expect.as_deref().unwrap_or(&arguments.file))
            .help("`sinter inspect FILE` shows the outputs"));
    }
    let BoundFlags { atol, rtol, min_cosine } = arguments.bounds;
    let bounds = Allowed::new(ready.engine.plan(), atol, rtol, min_cosine);
    let outputs = differences(&found, &expected, &|name| bounds.of_output(name));
    let trace = match (arguments.trace, &ready.networks) {
        (false, _) => None,
        (true, Some((_, optimized))) => {
            let limit = arguments.model.max_memory();
            Some(trace(
                (&ready.engine, &arguments.device.back_ends()?),
                optimized,
                &opened.inputs,
                &expected,
                &bounds,
                limit,
            )?)
        }
        (true, None) => {
            return Err(Failure::usage("--trace needs the model; a plan does not have it")
                .at(&arguments.file)
                .help("hand in the model that the plan was built of"));
        }
    };
    let report = Report {
        file: arguments.file.display().to_string(),
        against,
        within: outputs.iter().all(|d| d.within),
        outputs,
        trace,
    };
    deliver(&report, &arguments.json, show)?;
    match report.outputs.iter().find(|d| !d.within) {
        None => Ok(()),
        Some(first) => Err(Failure::new(Exit::OutsideBounds, format!("output '{}' is outside its bounds", first.name))
            .help("--atol, --rtol and --min-cosine set the bounds")),
    }
}

/// The outputs of the reference executor.
///
/// # Errors
/// When an operator fails, or values need more memory than allowed.
pub fn reference(network: &Network, inputs: &[(String, Value)], max_memory: u64) -> Result<Vec<Value>, Failure> {
    let inputs: HashMap<String, Value> = inputs.iter().cloned().collect();
    let nodes = network.body.nodes().len() as u64;
    let counting = Counting { stage: Stage::bar("judging", nodes), nodes, done: AtomicU64::new(0) };
    let cx = EvalContext { memory: Memory::of(max_memory), ..EvalContext::new(&counting) };
    Ok(run_within(network, &inputs, &cx)?)
}

/// The fast evaluator, which reports its progress.
struct Counting {
    stage: Stage,
    nodes: u64,
    done: AtomicU64,
}

impl Evaluator for Counting {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let results = FastEvaluator.evaluate(op, inputs, cx);
        // Every iteration of a loop counts the nodes of its body again.
        self.stage.set((self.done.fetch_add(1, Ordering::Relaxed) + 1).min(self.nodes));
        results
    }
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{} against {}", report.file, report.against)?;
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3e}"));
    let row = |d: &Difference| {
        let result = if d.within { "within".to_owned() } else { d.reason.clone().unwrap_or("OUTSIDE".to_owned()) };
        let cosine = d.cosine.map_or("-".to_owned(), |c| format!("{c:.7}"));
        vec![d.name.clone(), d.ty.clone(), number(d.max_error), number(d.bound), number(d.mean_error), cosine, result]
    };
    let rows = report.outputs.iter().map(row).collect();
    let header = ["output", "type", "max error", "bound", "mean error", "cosine", "result"];
    writeln!(out, "{}", table(&header, &[2, 3, 4, 5], rows))?;
    let Some(trace) = &report.trace else { return Ok(()) };
    let (compared, inside) = (count(trace.compared, "value"), trace.inside);
    writeln!(out, "trace: {compared} compared, {inside} of them inside the {}", count(trace.steps, "step"))?;
    if !trace.passes_within {
        writeln!(out, "  the network after the passes, run by the reference executor, is outside the bounds already")?;
    }
    if let Some(difference) = &trace.difference {
        let error = number(difference.max_error);
        writeln!(out, "  first bad value: {}, error {error}", difference.ty)?;
        if let Some(TracedNode { origin, operator, is_inside }) = &trace.node {
            match is_inside {
                true => writeln!(out, "    of {operator} at {origin}, inside the last of")?,
                false => writeln!(out, "    of {operator} at {origin}, made by the last of")?,
            }
        }
        for step in &trace.bad {
            let kernel = step.tactic.as_deref().unwrap_or("control flow");
            let origins = step.origins.join(", ");
            writeln!(out, "    step {}: {} by {kernel}, from {origins}", step.position, step.operators.join("+"))?;
        }
    }
    Ok(())
}
