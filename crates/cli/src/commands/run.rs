//! `sinter run`: one inference.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::base::{DataType, Tensor, Value};
use sinter::values::{self, Role, is_archive};

use crate::failure::Failure;
use crate::files::{Files, Form};
use crate::flags::{DeviceFlags, InputFlags, JsonFlags, ModelFlags};
use crate::interrupt::while_writing;
use crate::output::deliver;
use crate::prepare::{WithoutInputs, engine, open};
use crate::report::{milliseconds, type_text};

const EXAMPLES: &str = "\
Examples:
  sinter run model.plan --inputs x.npz                      sum up the outputs
  sinter run model.plan --inputs x.npz --outputs y.npz      keep them
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

    /// Where the outputs go: an .npz file by name, or a folder for output_0.pb, output_1.pb, ...
    #[arg(long, value_name = "FILE")]
    outputs: Option<PathBuf>,

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
    /// The first elements, as text.
    pub first: Vec<String>,
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
    let outputs = arguments.outputs.as_deref();
    files.writes("--outputs", outputs, if outputs.is_some_and(is_archive) { Form::File } else { Form::Folder });
    arguments.json.name_files(&mut files);
    files.check()?;
    let opened = open(&arguments.file, &arguments.model, &arguments.inputs, WithoutInputs::None)?;
    let ready = engine(opened.source, &arguments.model, &arguments.device, &opened.inputs)?;
    let start = Instant::now();
    let results = ready.engine.run(opened.inputs)?;
    let time = start.elapsed();
    let outputs: Vec<(String, Value)> = ready.engine.output_names().map(str::to_owned).zip(results).collect();
    if let Some(path) = &arguments.outputs {
        while_writing(|| values::write(path, Role::Output, &outputs))?;
    }
    let report = Report {
        file: arguments.file.display().to_string(),
        milliseconds: milliseconds(time),
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
            OutputSummary { first: strings.iter().take(FIRST).map(|s| format!("{s:?}")).collect(), ..empty }
        }
        Value::Tensor(tensor) => numbers(tensor, empty),
        Value::Sequence { items, .. } => OutputSummary { first: items.iter().take(FIRST).map(kind).collect(), ..empty },
        Value::Optional { item, .. } => OutputSummary { first: item.iter().map(|item| kind(item)).collect(), ..empty },
    }
}

fn kind(value: &Value) -> String {
    type_text(&value.value_type())
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
            first = block.iter().take(FIRST).map(|v| short(*v)).collect();
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
    // JSON has no infinities; they show among the first elements.
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
        writeln!(out, "  first: {}", output.first.join(" "))?;
    }
    if let Some(written) = &report.written {
        writeln!(out, "written to {written}")?;
    }
    writeln!(out, "{:.3} ms", report.milliseconds)
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
        assert_eq!(found.first, ["1"; FIRST]);
        let found = of(Tensor::from_vec(&[3], vec![f32::NAN, 2.0, f32::INFINITY]).unwrap());
        assert_eq!((found.min, found.max, found.nan), (Some(2.0), None, 1));
        let found = of(Tensor::from_vec::<f32>(&[0], Vec::new()).unwrap());
        assert_eq!((found.min, found.nan, found.first.len()), (None, 0, 0));
    }
}
