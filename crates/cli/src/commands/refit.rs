//! `sinter refit`: a plan gets the weights of another training run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backend::BackEnd;
use sinter::internals::backends::BACK_ENDS;
use sinter::internals::base::{DataType, Tensor};
use sinter::internals::builder::{refit, refittable_tensors};
use sinter::internals::import_onnx::ImportOptions;
use sinter::internals::ir::WeightExpr;
use sinter::internals::plan::{Plan, PlanFile, Trust, is_plan, write_programs};
use sinter::internals::runtime::default_memory;
use sinter::internals::source;
use sinter::internals::tensor_io::read_npz;
use sinter::internals::values::is_archive;

use crate::failure::Failure;
use crate::files::{Files, Form};
use crate::flags::JsonFlags;
use crate::interrupt::while_writing;
use crate::output::deliver;
use crate::report::count;

const EXAMPLES: &str = "\
Examples:
  sinter build model.onnx --refittable
  sinter refit model.plan retrained.onnx -o retrained.plan
  sinter refit model.plan weights.npz -o other.plan             tensors by their names in the model";

/// Give a plan other weights.
///
/// The plan must have been built with --refittable. The steps and kernels stay; weights that passes folded or kernels packed
/// are computed and packed again, which takes a fraction of the time of a build. Tensors that are not given stay as they are.
/// The new plan has no self-test vectors: nothing has verified it with the new weights.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Plan that was built with --refittable
    plan: PathBuf,

    /// New weights: the model from another training run, or an .npz file of tensors by their names in the model
    weights: PathBuf,

    /// Where the new plan goes
    #[arg(short, long, value_name = "PLAN")]
    output: PathBuf,

    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter refit`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The plan as given.
    pub plan: String,
    /// The plan that was written.
    pub output: String,
    /// Names of the tensors that were replaced.
    pub replaced: Vec<String>,
    /// Names of the refittable tensors that stayed as they were.
    pub kept: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, the plan is not refittable, or tensors do not suit it; nothing is written then.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let Flags { plan, weights, output, json } = arguments;
    let mut files = Files::default();
    files.reads("the plan", Some(plan));
    files.reads_model("the weights", weights);
    files.writes("--output", Some(output), Form::File);
    json.name_files(&mut files);
    files.check()?;
    if plan.is_file() && !is_plan(plan) {
        return Err(Failure::usage("this is no plan").at(plan).help("`sinter build MODEL --refittable` makes one"));
    }
    let programs = PlanFile::open(plan, Trust::Nothing).and_then(PlanFile::into_programs);
    let programs = programs.map_err(|error| Failure::from(error).at(plan))?;
    let tensors = tensors(weights, &programs)?;
    let back_ends: Vec<&dyn BackEnd> = BACK_ENDS.to_vec();
    let most = u64::try_from(default_memory()).unwrap_or(u64::MAX);
    let mut refitted = Vec::new();
    for program in &programs {
        refitted.push(refit(program, &tensors, &back_ends, most).map_err(|error| Failure::from(error).at(plan))?);
    }
    let all: Vec<&Plan> = refitted.iter().collect();
    while_writing(|| write_programs(output, &all)).map_err(|error| Failure::from(error).at(output))?;
    let known: BTreeSet<&str> = refitted.iter().flat_map(|plan| refittable_tensors(plan).into_keys()).collect();
    let (replaced, kept): (Vec<&str>, Vec<&str>) = known.into_iter().partition(|name| tensors.contains_key(*name));
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let report = Report {
        plan: plan.display().to_string(),
        output: output.display().to_string(),
        replaced: owned(replaced),
        kept: owned(kept),
    };
    deliver(&report, json, show)
}

/// The given tensors by name: of a model those that the plan can be refitted with, of an archive all.
fn tensors(path: &Path, programs: &[Plan]) -> Result<HashMap<String, Tensor>, Failure> {
    let known: BTreeMap<&str, DataType> =
        programs.iter().flat_map(|plan| refittable_tensors(plan)).map(|(name, ty)| (name, ty.data_type)).collect();
    match is_archive(path) {
        true => of_archive(path, &known),
        false => of_model(path, &known),
    }
}

/// All tensors of an archive; those that the plan knows have its element types.
fn of_archive(path: &Path, known: &BTreeMap<&str, DataType>) -> Result<HashMap<String, Tensor>, Failure> {
    let arrays = read_npz(path, default_memory()).map_err(|error| Failure::usage(error.to_string()).at(path))?;
    let mut tensors = HashMap::new();
    for (name, array) in arrays {
        let tensor = array.into_tensor(known.get(name.as_str()).copied());
        let tensor = tensor.map_err(|reason| Failure::usage(format!("tensor '{name}': {reason}")).at(path))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The weights of a model that the plan knows. A model of the same architecture has all of them.
fn of_model(path: &Path, known: &BTreeMap<&str, DataType>) -> Result<HashMap<String, Tensor>, Failure> {
    let network = source::import(path, &ImportOptions::default()).map_err(|error| Failure::from(error).at(path))?;
    let named = network.weights.iter().filter_map(|weight| match &*weight.expr {
        WeightExpr::Source { name, tensor, .. } if known.contains_key(&**name) => {
            Some((name.to_string(), tensor.clone()))
        }
        _ => None,
    });
    let found: HashMap<String, Tensor> = named.collect();
    match known.keys().find(|name| !found.contains_key(**name)) {
        Some(name) => Err(Failure::usage(format!("the model has no weight '{name}', which the plan was built with"))
            .at(path)
            .help("give a model of the same architecture, exported in the same way, or an .npz file of the tensors to replace")),
        None => Ok(found),
    }
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{} from {}", report.output, report.plan)?;
    writeln!(out, "  replaced {}", count(report.replaced.len(), "tensor"))?;
    writeln!(out, "  kept     {}", count(report.kept.len(), "tensor"))?;
    writeln!(
        out,
        "  verified not with these weights; compare with `sinter diff {} --inputs X.npz --expect Y.npz`",
        report.output
    )
}
