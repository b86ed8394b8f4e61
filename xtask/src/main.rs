//! Developer tasks: `cargo xtask COMMAND`.
#![allow(clippy::print_stdout, reason = "this program talks to its user")]

mod command;
mod conformance;
mod faults;
mod gpu;
mod python;
mod random;
mod test;
mod tidy;
mod zoo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of Sinter.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every test, suites side by side as processes, with the time of each. Makes a Python environment with the
    /// ONNX package for the test data; without Python the rest still runs.
    Test(test::Options),
    /// Checks the structure: crate edges, file sizes, lists, host-only operators, forgotten files, head comments, files
    /// with unsafe code, files that documents name.
    Tidy,
    /// Runs the ONNX backend test cases and prints what fails.
    Conformance(conformance::Options),
    /// Plants faults in a scratch copy and shows which of them verification and the tests find.
    Faults(faults::Options),
    /// Bundles the tests of the CUDA back end for a machine with a GPU, or runs them here.
    Gpu(gpu::Options),
    /// Builds and runs random networks and compares them with the reference executor.
    Random(random::Options),
    /// Builds full-size exporters' graphs, one at a time, and compares the engines with ONNX Runtime.
    Zoo(zoo::Options),
    /// Makes the generated pages of `docs/` anew.
    Docs,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Tidy => tidy::run(),
        Task::Conformance(options) => conformance::run(&options),
        Task::Faults(options) => faults::run(&options),
        Task::Gpu(options) => gpu::run(&options),
        Task::Random(options) => random::run(&options),
        Task::Zoo(options) => zoo::run(&options),
        Task::Docs => conformance::write_pages(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}
