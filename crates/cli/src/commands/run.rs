//! `sinter run`: one inference.

use std::fmt::{Display, Formatter};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::{DataType, Tensor, Value};
use sinter::internals::source::Source;
use sinter::internals::values::{self, Role, is_archive};

use crate::failure::Failure;
use crate::files::{Files, Form};
use crate::flags::{DeviceFlags, InputFlags, JsonFlags, ModelFlags};
use crate::interrupt::while_writing;
use crate::output::deliver;
use crate::prepare::{First, WithoutInputs, engine, first_run, open};
use crate::report::{count, milliseconds, time_text, type_text};
use crate::self_test::before_runs;

const EXAMPLES: &str = "\
Examples:
  sinter run model.plan --inputs x.npz                      sum up the outputs
  sinter run model.plan --inputs x.npz --outputs y.npz      keep them
  sinter run model.plan --random --shapes input:8x3x224x224 inputs of these sizes, synthetic
  sinter run model.onnx --inputs test_data_set_0            build in memory, then run";

/// Elements of an output that a summary shows.
const FIRST: usize = 6;

/// Run one inference.
///
/// Takes a plan, or a model, which is built in memory for the sizes of the given inputs. Without --outputs the outputs are
/// summed up: type, smallest, largest and mean element, the first few.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Plan or ONNX model
    #[arg(value_name = "PLAN_OR_MODEL")]
    file: PathBuf,

    #[command(flatten)]
    inputs: InputFlags,

    /// Make the values of the inputs up, as `sinter bench` does; --seed does so too
    #[arg(long, conflicts_with = "inputs")]
    random: bool,

    /// Where the outputs go: an .npz file by name, or a folder for output_0.pb, output_1.pb, ...
    #[arg(long, value_name = "FILE")]
    outputs: Option<PathBuf>,

    /// Keep the values of the inputs, synthetic or given, in the same forms as --outputs
    #[arg(long, value_name = "FILE")]
    save_inputs: Option<PathBuf>,

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

/// Result of `sinter run`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The file as given.
    pub file: String,
    /// Milliseconds of the inference, the first one of this engine.
    pub milliseconds: f64,
    /// Outputs of self-test vectors that are the known ones; only with `--self-test`.
    pub self_test: Option<usize>,
    /// Where the outputs were written; absent when they were only summed up.
    pub written: Option<String>,
    /// The outputs in order.
    pub outputs: Vec<OutputSummary>,
}

/// What an output holds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSummary {
    /// Name given by the model.
    pub name: String,
    /// Element type and sizes.
    #[serde(rename = "type")]
    pub ty: String,
    /// Smallest element that is a number; absent for text, sequences, optionals and empty tensors.
    pub min: Option<f64>,
    /// Largest element that is a number.
    pub max: Option<f64>,
    /// Mean of the elements that are numbers.
    pub mean: Option<f64>,
    /// Elements that are no numbers.
    pub nan: usize,
    /// The first elements; of sequences and optionals, the types of the first tensors.
    pub first: Vec<Element>,
}

/// An element as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Element {
    /// A number.
    Number(f64),
    /// A text, or one of the numbers that JSON does not have: `NaN`, `inf`, `-inf`.
    Text(String),
}

impl Element {
    fn of(value: f64) -> Self {
        if value.is_finite() { Self::Number(value) } else { Self::Text(value.to_string()) }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(value) => f.write_str(&short(*value)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When files cannot be read or written, or the inference fails.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    files.reads_model("the plan or model", &arguments.file);
    arguments.inputs.name_files(&mut files);
    arguments.model.name_files(&mut files);
    let form = |path: Option<&Path>| if path.is_some_and(is_archive) { Form::File } else { Form::Folder };
    for (flag, path) in [("--outputs", &arguments.outputs), ("--save-inputs", &arguments.save_inputs)] {
        files.writes(flag, path.as_deref(), form(path.as_deref()));
    }
    arguments.json.name_files(&mut files);
    files.check()?;
    arguments.device.check();
    let without = match arguments.random || arguments.inputs.seed.is_some() {
        true => WithoutInputs::Generate,
        false => WithoutInputs::None,
    };
    let opened = open(&arguments.file, &arguments.model, &arguments.inputs, without)?;
    let is_plan = matches!(opened.source, Source::Plan(_));
    let engine = engine(opened.source, &arguments.model, &arguments.device, &opened.inputs)?.engine;
    let self_test = before_runs(&engine, is_plan, arguments.device.threads(), arguments.self_test)?;
    let spare = opened.spare.filter(|_| without == WithoutInputs::Generate);
    let First { inputs, outputs, time } = first_run(&engine, opened.inputs, spare, &arguments.inputs)?;
    let outputs: Vec<(String, Value)> = engine.output_names().map(str::to_owned).zip(outputs).collect();
    if let Some(path) = &arguments.save_inputs {
        while_writing(|| values::write(path, Role::Input, &inputs))?;
    }
    if let Some(path) = &arguments.outputs {
        while_writing(|| values::write(path, Role::Output, &outputs))?;
    }
    let report = Report {
        file: arguments.file.display().to_string(),
        milliseconds: milliseconds(time),
        self_test,
        written: arguments.outputs.as_ref().map(|p| p.display().to_string()),
        outputs: outputs.iter().map(|(name, value)| summary(name, value)).collect(),
    };
    deliver(&report, &arguments.json, show)
}

fn summary(name: &str, value: &Value) -> OutputSummary {
    let ty = type_text(&value.value_type());
    let empty =
        OutputSummary { name: name.to_owned(), ty, min: None, max: None, mean: None, nan: 0, first: Vec::new() };
    match value {
        Value::Tensor(tensor) if tensor.data_type() == DataType::String => {
            let strings = tensor.strings().unwrap_or_default();
            OutputSummary { first: strings.iter().take(FIRST).cloned().map(Element::Text).collect(), ..empty }
        }
        Value::Tensor(tensor) => numbers(tensor, empty),
        Value::Sequence { items, .. } => OutputSummary { first: items.iter().take(FIRST).map(kind).collect(), ..empty },
        Value::Optional { item, .. } => OutputSummary { first: item.iter().map(|item| kind(item)).collect(), ..empty },
    }
}

fn kind(value: &Value) -> Element {
    Element::Text(type_text(&value.value_type()))
}

/// Elements that are floats at a time, whole bytes of every type: eight bytes for each element of an output would be four
/// times an output of f16.
const BLOCK: usize = 1 << 16;

fn blocks(tensor: &Tensor) -> impl Iterator<Item = Vec<f64>> {
    let (data_type, count, bytes) = (tensor.data_type(), tensor.count(), tensor.shared_bytes());
    let position = move |element: usize| (element * data_type.bits()).div_ceil(8);
    (0..count).step_by(BLOCK).map(move |start| {
        let end = count.min(start + BLOCK);
        let block = bytes.slice(position(start)..position(end));
        Tensor::from_bytes(data_type, &[end - start], block).map(|block| block.to_floats()).unwrap_or_default()
    })
}

fn numbers(tensor: &Tensor, empty: OutputSummary) -> OutputSummary {
    let mut first = Vec::new();
    let (mut min, mut max, mut sum, mut count, mut nan) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0usize, 0usize);
    for block in blocks(tensor) {
        if first.is_empty() {
            first = block.iter().take(FIRST).copied().map(Element::of).collect();
        }
        for v in block {
            if v.is_nan() {
                nan += 1;
            } else {
                (min, max, sum, count) = (min.min(v), max.max(v), sum + v, count + 1);
            }
        }
    }
    if count == 0 {
        return OutputSummary { nan, first, ..empty };
    }
    // JSON has no infinities; the first elements of the report show them.
    let finite = |v: f64| Some(v).filter(|v| v.is_finite());
    OutputSummary { min: finite(min), max: finite(max), mean: finite(sum / count as f64), nan, first, ..empty }
}

/// A number with as many digits as a reader compares.
fn short(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 { format!("{value}") } else { format!("{value:.6}") }
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    for output in &report.outputs {
        writeln!(out, "{} {}", output.name, output.ty)?;
        if let (Some(min), Some(max), Some(mean)) = (output.min, output.max, output.mean) {
            writeln!(out, "  min {}, max {}, mean {}", short(min), short(max), short(mean))?;
        }
        if output.nan > 0 {
            writeln!(out, "  {} elements are no numbers (NaN)", output.nan)?;
        }
        let first: Vec<String> = output.first.iter().map(Element::to_string).collect();
        writeln!(out, "  first: {}", first.join(" "))?;
    }
    if let Some(known) = report.self_test {
        writeln!(out, "self-test: {} as known", count(known, "output"))?;
    }
    if let Some(written) = &report.written {
        writeln!(out, "written to {written}")?;
    }
    writeln!(out, "{}", time_text(report.milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_sees_every_element_of_every_block() {
        let of = |tensor: Tensor| summary("y", &tensor.into());
        let mut codes = vec![1u8; BLOCK + 3];
        codes[BLOCK - 1] = 0;
        codes[BLOCK + 2] = 9;
        let found = of(Tensor::from_codes(DataType::U4, &[BLOCK + 3], codes).unwrap());
        let mean = (BLOCK as f64 + 10.0) / (BLOCK as f64 + 3.0);
        assert_eq!((found.min, found.max, found.mean), (Some(0.0), Some(9.0), Some(mean)));
        assert_eq!(found.first, [const { Element::Number(1.0) }; FIRST]);
        let found = of(Tensor::from_vec(&[3], vec![f32::NAN, 2.0, f32::INFINITY]).unwrap());
        assert_eq!((found.min, found.max, found.nan), (Some(2.0), None, 1));
        let first: Vec<String> = found.first.iter().map(Element::to_string).collect();
        assert_eq!(first, ["NaN", "2", "inf"]);
        assert_eq!(serde_json::to_string(&found.first).unwrap(), r#"["NaN",2.0,"inf"]"#);
        let found = of(Tensor::from_vec::<f32>(&[0], Vec::new()).unwrap());
        assert_eq!((found.min, found.nan, found.first.len()), (None, 0, 0));
    }
}
