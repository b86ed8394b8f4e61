//! Runs ONNX test cases through the judge, or through a built CPU engine, and prints what fails.
//!
//! `onnx-cases [--suite node] [--engine] [FILTER ...]`; the data folder is `SINTER_ONNX_DATA`.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sinter_conformance::engine::run_built;
use sinter_conformance::onnx_cases::{Case, cases};
use sinter_interp::run;

/// Runs ONNX test cases and prints what fails.
#[derive(Parser)]
struct Arguments {
    /// Folder `onnx/backend/test/data` of the Python package.
    #[arg(long, env = "SINTER_ONNX_DATA")]
    data: PathBuf,
    /// Which suite: node, simple, pytorch-converted, pytorch-operator.
    #[arg(long, default_value = "node")]
    suite: String,
    /// Through a built CPU engine instead of the judge.
    #[arg(long)]
    engine: bool,
    /// Only cases whose name contains one of these.
    filters: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let folders = match cases(&arguments.data, &arguments.suite) {
        Ok(folders) => folders,
        Err(error) => {
            println!("{}: {error}", arguments.data.display());
            return ExitCode::from(2);
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for folder in folders {
        let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if !arguments.filters.is_empty() && !arguments.filters.iter().any(|f| name.contains(f)) {
            continue;
        }
        let mut runner = |network: &_, inputs: &_| {
            if arguments.engine { run_built(network, inputs) } else { run(network, inputs).map_err(|e| e.to_string()) }
        };
        match Case::load(&folder).and_then(|case| case.run(&mut runner)) {
            Ok(()) => passed += 1,
            Err(failure) => {
                failed += 1;
                println!("{name}: {failure}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
