//! Runs ONNX test cases and prints what fails.
//!
//! `onnx-cases [--suite node] [--by judge|engine|lean] [--tier avx2] [--form plain|symbolic|embedded] [FILTER ...]`; the
//! data folder is `SINTER_ONNX_DATA`. `--full` runs every suite in every form on every tier.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use sinter_conformance::suite::{Form, Machine, Report, Selection, run_suite};
use sinter_conformance::{SUITES, TIERS};

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Judge,
    FastJudge,
    Engine,
    Lean,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormName {
    Plain,
    Symbolic,
    Embedded,
}

/// Runs ONNX test cases and prints what fails.
#[derive(Parser)]
struct Arguments {
    /// Folder `onnx/backend/test/data` of the Python package.
    #[arg(long, env = "SINTER_ONNX_DATA")]
    data: PathBuf,
    /// Which suite: node, simple, pytorch-converted, pytorch-operator.
    #[arg(long, default_value = "node")]
    suite: String,
    /// What computes the outputs: the judge, the built engine here, or its plan in the lean program.
    #[arg(long, value_enum, default_value = "judge")]
    by: By,
    /// Instruction set of the lean program: scalar, avx2, avx512.
    #[arg(long)]
    tier: Option<String>,
    /// The cases as they are, with symbolic input dimensions, or between random neighbours.
    #[arg(long, value_enum, default_value = "plain")]
    form: FormName,
    /// Seed of the neighbours.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Every suite in every form on every tier of the lean program.
    #[arg(long)]
    full: bool,
    /// Writes the page of operators and their kernels instead.
    #[arg(long)]
    operators: Option<PathBuf>,
    /// Only cases whose name contains one of these.
    filters: Vec<String>,
}

fn print(title: &str, report: &Report) {
    for (name, reason) in &report.failed {
        println!("{name}: {reason}");
    }
    let skipped: usize = report.skipped.values().sum();
    let (passed, failed, ignored) = (report.passed, report.failed.len(), report.ignored);
    println!("{title}: {passed} passed, {failed} failed, {ignored} ignored, {skipped} without this form");
    let mut reasons: Vec<_> = report.skipped.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons.into_iter().take(12) {
        println!("    {count}: {}", reason.replace('\n', " "));
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    if let Some(path) = &arguments.operators {
        let page = sinter_conformance::operator_table::page(&arguments.data).map_err(|e| e.to_string())?;
        return std::fs::write(path, page).map(|()| true).map_err(|e| format!("{}: {e}", path.display()));
    }
    let selection = Selection { filters: arguments.filters.clone(), ..Selection::default() };
    let form = |name| match name {
        FormName::Plain => Form::Plain,
        FormName::Symbolic => Form::Symbolic,
        FormName::Embedded => Form::Embedded(arguments.seed),
    };
    let mut clean = true;
    let mut one = |title: &str, suite: &str, machine: &mut Machine, form| {
        let report = run_suite(&arguments.data, suite, machine, form, &selection).map_err(|e| e.to_string())?;
        print(title, &report);
        clean &= report.failed.is_empty();
        Ok::<(), String>(())
    };
    if arguments.full {
        for tier in TIERS {
            let mut machine = Machine::lean(Some(tier))?;
            for suite in SUITES {
                for name in [FormName::Plain, FormName::Symbolic, FormName::Embedded] {
                    let form = form(name);
                    one(&format!("{suite} {} {tier}", form.name()), suite, &mut machine, form)?;
                }
            }
        }
        let failures = sinter_conformance::light::run_all(&arguments.data.join("light"));
        failures.iter().for_each(|failure| println!("{failure}"));
        return Ok(clean && failures.is_empty());
    }
    let mut machine = match arguments.by {
        By::Judge => Machine::Judge,
        By::FastJudge => Machine::FastJudge,
        By::Engine => Machine::Engine,
        By::Lean => Machine::lean(arguments.tier.as_deref())?,
    };
    let form = form(arguments.form);
    one(&format!("{} {}", arguments.suite, form.name()), &arguments.suite, &mut machine, form)?;
    Ok(clean)
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(clean) => ExitCode::from(u8::from(!clean)),
        Err(reason) => {
            println!("{reason}");
            ExitCode::from(2)
        }
    }
}
