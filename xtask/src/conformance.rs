//! `cargo xtask conformance`.

use std::path::{Path, PathBuf, absolute};
use std::process::Command;

use clap::Args;

use crate::command::{root, run as run_program};
use crate::python::onnx_data;

/// Which cases to run.
#[derive(Args)]
pub(crate) struct Options {
    /// node, simple, pytorch-converted or pytorch-operator.
    #[arg(long, default_value = "node")]
    suite: String,
    /// judge, fast-judge, engine (in one process), lean (the plan's bytes in the lean program) or gpu (the engine on the
    /// first NVIDIA GPU).
    #[arg(long, default_value = "lean")]
    by: String,
    /// plain, symbolic (all input dimensions) or embedded (between random neighbours).
    #[arg(long, default_value = "plain")]
    form: String,
    /// Instruction set of the lean program: scalar, avx2 or avx512.
    #[arg(long)]
    tier: Option<String>,
    /// Every suite in every form on every tier.
    #[arg(long)]
    full: bool,
    /// Writes what came out, and which tactics computed each case, to a file; `-` means standard output, which then
    /// holds nothing else.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases whose name contains one of these.
    filters: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["run", "--quiet", "--package", "sinter-conformance", "--bin", "onnx-cases", "--"]);
    cargo.arg("--data").arg(onnx_data()?).args(["--suite", &options.suite]).args(&options.filters);
    cargo.args(["--by", &options.by, "--form", &options.form]);
    if let Some(tier) = &options.tier {
        cargo.args(["--tier", tier]);
    }
    if options.full {
        cargo.arg("--full");
    }
    if let Some(path) = &options.json {
        let is_output = path == Path::new("-");
        // The program runs elsewhere.
        let path = if is_output { path.clone() } else { absolute(path).map_err(|e| e.to_string())? };
        cargo.arg("--json").arg(path);
    }
    run_program(&mut cargo)
}

/// Makes `docs/operators.md` anew.
pub(crate) fn write_pages() -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["run", "--quiet", "--package", "sinter-conformance", "--bin", "onnx-cases", "--"]);
    cargo.arg("--data").arg(onnx_data()?).args(["--operators", "docs/operators.md"]);
    run_program(&mut cargo)
}
