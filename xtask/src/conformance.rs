//! `cargo xtask conformance`.

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
    /// Through a built CPU engine instead of the judge.
    #[arg(long)]
    engine: bool,
    /// Only cases whose name contains one of these.
    filters: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["run", "--quiet", "--package", "sinter-conformance", "--bin", "onnx-cases", "--"]);
    cargo.arg("--data").arg(onnx_data()?).args(["--suite", &options.suite]).args(&options.filters);
    if options.engine {
        cargo.arg("--engine");
    }
    run_program(&mut cargo)
}
