//! The command line: the list of commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sinter::internals::cpu::Tier;

use crate::commands::{bench, build, completions, demo, diff, doctor, inspect, refit, run, self_test};
use crate::failure::Failure;

/// Turns a trained network into a verified, optimized engine for this machine, and runs it.
#[derive(Parser, Debug)]
#[command(name = "sinter", bin_name = "sinter", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sinter demo                                   the tour; needs no file
  sinter build model.onnx                       make model.plan for this machine
  sinter run model.plan --inputs x.npz          one inference, results summed up
  sinter bench model.plan                       latency and throughput

Exit codes: 0 done; 1 results outside their bounds, or an operator without a kernel; 2 wrong flags, names,
types or files, or no more memory; 3 damaged or invalid data; 4 device not available; 130 interrupted.";

/// The commands; each is a file in `commands/`, which documents it.
#[derive(Subcommand, Debug)]
#[allow(missing_docs, reason = "words here would take the place of the whole documentation in a command's help")]
pub enum Command {
    Build(build::Flags),
    Run(run::Flags),
    Bench(bench::Flags),
    Diff(diff::Flags),
    Inspect(inspect::Flags),
    Refit(refit::Flags),
    SelfTest(self_test::Flags),
    Doctor(doctor::Flags),
    Demo(demo::Flags),
    Completions(completions::Flags),
}

/// Runs a command.
///
/// # Errors
/// What, where and what to do, with the exit code.
pub fn dispatch(arguments: &Arguments) -> Result<ExitCode, Failure> {
    // With a misspelt tier the program would measure and test another tier.
    Tier::requested().map_err(|error| Failure::usage(error.to_string()))?;
    match &arguments.command {
        Command::Build(arguments) => build::run(arguments)?,
        Command::Run(arguments) => run::run(arguments)?,
        Command::Bench(arguments) => bench::run(arguments)?,
        Command::Diff(arguments) => diff::run(arguments)?,
        Command::Inspect(arguments) => inspect::run(arguments)?,
        Command::Refit(arguments) => refit::run(arguments)?,
        Command::SelfTest(arguments) => self_test::run(arguments)?,
        Command::Doctor(arguments) => doctor::run(arguments)?,
        Command::Demo(arguments) => demo::run(arguments)?,
        Command::Completions(arguments) => completions::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
