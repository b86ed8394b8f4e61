//! `sinter inspect`: the contents of a model or a plan.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::{Attr, TensorType};
use sinter::internals::builder::refittable_tensors;
use sinter::internals::plan::{Action, Graph, Plan, Step};
use sinter::internals::source::{self, Source};

use crate::commands::build::weight_bytes;
use crate::dot::dot;
use crate::explain::{Explanation, RefusalReport, check_node, explain, refusals};
use crate::failure::Failure;
use crate::files::{Files, Form, is_standard_output};
use crate::flags::{DeviceFlags, JsonFlags, ModelFlags, show_bytes};
use crate::output::{deliver, write_file};
use crate::prepare::{build_plan, open_source};
use crate::report::{
    PassSummary, Port, PrecisionSummary, VerificationSummary, computes_in, count, fired_summaries, operators,
    pass_summaries, ports, precision_summary, sources, table, tactic, type_text, verification_summary,
};

const EXAMPLES: &str = "\
Examples:
  sinter inspect model.onnx                      what it takes, gives, and which kernels would serve it
  sinter inspect model.plan --json -             the same for programs
  sinter inspect model.plan --explain conv1      candidates and refusals for the step of a node
  sinter inspect model.plan --dot | dot -Tsvg > model.svg    a drawing of the steps";

/// Show what is in a model or a plan.
///
/// Inputs, outputs, steps with their operators, kernels and sources, weights and memory. A model is built in memory, so that
/// the steps are those that a plan would have.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Plan or ONNX model
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// For the steps that come from this node: the kernels offered and what each is expected to take, and which tactics
    /// refused, and why
    ///
    /// Measured times are there for a model with --tune-seconds; a plan keeps none.
    #[arg(long, value_name = "NODE")]
    explain: Option<String>,

    /// Write the steps as a graph for Graphviz; without a file, to standard output instead of the listing
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    dot: Option<PathBuf>,

    #[command(flatten)]
    model: ModelFlags,

    #[command(flatten)]
    device: DeviceFlags,

    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter inspect`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The file as given.
    pub file: String,
    /// `model` or `plan`.
    pub kind: String,
    /// Name of the network in the file.
    pub name: String,
    /// The device that the plan is for.
    pub device: String,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Number of weights.
    pub weights: usize,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Tensors of the model that `sinter refit` can replace.
    pub refittable_tensors: Vec<Port>,
    /// Bytes of memory for values between steps; absent when it depends on the sizes of inputs.
    pub activation_bytes: Option<u64>,
    /// Conditions on the sizes of inputs.
    pub conditions: Vec<String>,
    /// What the plan computes in; absent where it computes as the model says.
    pub precision: Option<PrecisionSummary>,
    /// The verification result of its build; absent for plans without a report.
    pub verification: Option<VerificationSummary>,
    /// What the passes did, in order; of a plan, those that fired, and absent without a report.
    pub passes: Option<Vec<PassSummary>>,
    /// Concatenations, slices and reshapes that move elements, and why; only for models.
    pub moved: Option<Vec<MovedReport>>,
    /// Nodes that dequantize weights, which the plan has done: no kernel takes them as stored; only for models.
    pub dequantized_weights: Option<Vec<String>>,
    /// Steps in execution order, those inside control flow after the step that holds them.
    pub steps: Vec<StepReport>,
    /// Kernels offered and refused; only with `--explain`.
    pub explanations: Option<Vec<Explanation>>,
}

/// A concatenation, slice or reshape that could not lie where its operands, or their readers, have it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MovedReport {
    /// The node of the model.
    pub origin: String,
    /// Its operator.
    pub operator: String,
    /// Why, by operand where there are several.
    pub reasons: Vec<String>,
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepReport {
    /// How many bodies of control flow it lies in.
    pub depth: usize,
    /// The operators that it computes.
    pub operators: Vec<String>,
    /// Types of its results.
    pub types: Vec<String>,
    /// Float types that it computes in: products of narrow types add up in f32.
    pub computes_in: Vec<String>,
    /// Name of the kernel's tactic; absent for control flow and for what is placed.
    pub tactic: Option<String>,
    /// Is nothing done, because results lie where operands do?
    pub placed: bool,
    /// Parameters of the kernel; absent when it has none.
    pub parameters: Option<String>,
    /// Nodes of the model that it comes from.
    pub origins: Vec<String>,
    /// Tactics for such operators that refused when the plan was built.
    pub refusals: Vec<RefusalReport>,
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be read or built, or no step comes from the node to explain.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    files.reads_model("the file to inspect", &arguments.file);
    arguments.model.name_files(&mut files);
    let drawing = arguments.dot.as_deref().filter(|path| !is_standard_output(path));
    files.writes("--dot", drawing, Form::FileOrStream);
    arguments.json.name_files(&mut files);
    files.check()?;
    arguments.device.check();
    let is_drawing_shown = arguments.dot.is_some() && drawing.is_none();
    if is_drawing_shown && arguments.json.target().is_some_and(is_standard_output) {
        return Err(
            Failure::usage("--dot and --json cannot both go to standard output").help("give one of them a file")
        );
    }
    let (kind, plan, passes, (moved, dequantized_weights), considered) =
        match open_source(&arguments.file, &arguments.model, &[])? {
            Source::Plan(plan) => {
                arguments.model.refuse_for_plan()?;
                ("plan", *plan, None, (None, None), Vec::new())
            }
            Source::Model(network) => {
                if let Some(node) = &arguments.explain {
                    check_node(&network, node)?;
                }
                let built = build_plan(&network, Vec::new(), &arguments.model, &arguments.device, &[])?;
                let moved = built.moved.into_iter().map(|moved| MovedReport {
                    origin: moved.origin,
                    operator: moved.operator.to_owned(),
                    reasons: moved.reasons,
                });
                let passes = pass_summaries(&built.passes);
                let dequantized = built.dequantized.iter().map(ToString::to_string).collect();
                ("model", built.plan, Some(passes), (Some(moved.collect()), Some(dequantized)), built.regions)
            }
        };
    let explanations = match &arguments.explain {
        None => None,
        Some(node) => Some(explain(&plan, node, arguments.device.back_ends()?.main(), &considered)?),
    };
    let mut steps = Vec::new();
    collect(&plan, &plan.graph, 0, &mut steps);
    let told = plan.report.as_ref();
    let passes = passes.or_else(|| told.map(|report| fired_summaries(&report.passes)));
    let report = Report {
        file: arguments.file.display().to_string(),
        kind: kind.to_owned(),
        name: plan.name.clone(),
        device: plan.target.to_string(),
        inputs: ports(&source::plan_inputs(&plan)),
        outputs: ports(&source::plan_outputs(&plan)),
        weights: plan.weights.len(),
        weight_bytes: weight_bytes(&plan),
        refittable_tensors: refittable_tensors(&plan).into_iter().map(refittable).collect(),
        activation_bytes: sinter::internals::memory::arena_bytes(&plan),
        conditions: conditions(&plan),
        precision: told.and_then(|report| report.precision.as_ref()).map(precision_summary),
        verification: told.map(|report| verification_summary(&report.verification, &plan.target)),
        passes,
        moved,
        dequantized_weights,
        steps,
        explanations,
    };
    if let Some(path) = drawing {
        write_file(path, dot(&plan).as_bytes())?;
    }
    deliver(&report, &arguments.json, |shown, out| match is_drawing_shown {
        true => out.write_all(dot(&plan).as_bytes()),
        false => show(shown, &report, out),
    })
}

fn refittable((name, ty): (&str, &TensorType)) -> Port {
    Port { name: name.to_owned(), ty: ty.to_string() }
}

fn conditions(plan: &Plan) -> Vec<String> {
    let others = plan.guards.iter().filter(|guard| guard.range(&plan.shapes).is_none());
    let ranges = plan.ranges().into_iter().map(|range| format!("the size '{}' is {range}", range.symbol));
    ranges.chain(others.map(|guard| guard.reason.clone())).collect()
}

fn collect(plan: &Plan, graph: &Graph, depth: usize, steps: &mut Vec<StepReport>) {
    for step in &graph.steps {
        steps.push(StepReport {
            depth,
            operators: operators(step),
            types: step
                .outputs
                .iter()
                .filter_map(|id| graph.values.get(id.index()))
                .map(|v| type_text(&v.ty))
                .collect(),
            computes_in: computes_in(step),
            tactic: tactic(step),
            placed: matches!(step.action, Action::Alias { .. }),
            parameters: parameters(step),
            origins: sources(step),
            refusals: refusals(plan, steps.len()),
        });
        if let Action::Control { graphs, .. } = &step.action {
            graphs.iter().for_each(|graph| collect(plan, graph, depth + 1, steps));
        }
    }
}

fn parameters(step: &Step) -> Option<String> {
    let recipe = &step.launch()?.general.recipe;
    (recipe.parameters != Attr::Absent).then(|| recipe.parameters.to_string())
}

/// Shows a report; `exact` is the same one with the lines of the regions apart.
fn show(report: &Report, exact: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}: {} '{}' for {}", report.file, report.kind, report.name, report.device)?;
    for input in &report.inputs {
        writeln!(out, "  input        {} {}", input.name, input.ty)?;
    }
    for output in &report.outputs {
        writeln!(out, "  output       {} {}", output.name, output.ty)?;
    }
    writeln!(out, "  weights      {}, {}", report.weights, show_bytes(report.weight_bytes))?;
    for tensor in &report.refittable_tensors {
        writeln!(out, "  refittable   {} {}", tensor.name, tensor.ty)?;
    }
    let activations = report.activation_bytes.map_or("as the inputs' sizes decide".to_owned(), show_bytes);
    writeln!(out, "  activations  {activations}")?;
    for condition in &report.conditions {
        writeln!(out, "  condition    {condition}")?;
    }
    for (heading, line) in report.precision.iter().flat_map(|precision| precision.lines(true)) {
        writeln!(out, "  {heading:<12} {line}")?;
    }
    match &report.verification {
        None => writeln!(out, "  verified     unknown: the plan has no report")?,
        Some(verification) => {
            for (heading, line) in verification.lines() {
                writeln!(out, "  {heading:<12} {line}")?;
            }
            for step in &verification.unverified {
                writeln!(out, "  {:<12} {}: {}", "unverified", step.origin, step.reason)?;
            }
        }
    }
    for pass in report.passes.iter().flatten() {
        writeln!(out, "  pass         {} fired {}", pass.pass, count(pass.fired, "time"))?;
        for miss in &pass.near_misses {
            writeln!(out, "               not at {}: {}", miss.origin, miss.reason)?;
        }
    }
    for moved in report.moved.iter().flatten() {
        writeln!(out, "  moved        {} of {}: {}", moved.operator, moved.origin, moved.reasons.join("; "))?;
    }
    if let Some(nodes) = report.dequantized_weights.as_ref().filter(|nodes| !nodes.is_empty()) {
        let what = count(nodes.len(), "weight");
        writeln!(out, "  dequantized  {what} in the plan: no kernel takes them as stored")?;
    }
    if let Some(explanations) = &report.explanations {
        let regions = exact.explanations.iter().flatten().map(|exact| exact.region.as_str());
        return explanations.iter().zip(regions).try_for_each(|(explanation, region)| explanation.show(region, out));
    }
    let row = |step: &StepReport| {
        let operators = format!("{}{}", "  ".repeat(step.depth), step.operators.join("+"));
        let tactic = if step.placed { "in place".to_owned() } else { step.tactic.clone().unwrap_or_default() };
        vec![operators, step.computes_in.join("+"), step.types.join(" "), tactic, step.origins.join(", ")]
    };
    let rows = report.steps.iter().map(row).collect();
    writeln!(out, "{}", table(&["operators", "computes in", "results", "tactic", "source"], &[], rows))
}
