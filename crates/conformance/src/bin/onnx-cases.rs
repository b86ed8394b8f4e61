//! Runs ONNX test cases and prints what fails.
//!
//! `onnx-cases [--suite node] [--by judge|engine|lean|gpu] [--tier avx2] [--form plain|symbolic|embedded] [FILTER ...]`;
//! the data folder is `SINTER_ONNX_DATA`. `--full` runs every suite in every form on every tier, `--json` says which
//! tactics computed each case.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::{Value as Json, json};
use sinter_conformance::suite::{Form, Machine, Report, Selection, run_suite};
use sinter_conformance::{SUITES, TIERS};
use sinter_cpu::Tier;

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Judge,
    FastJudge,
    Engine,
    Lean,
    Gpu,
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
    /// The program that computes the outputs: the reference executor (judge), the engine, its plan in the lean
    /// program, or the engine on the first NVIDIA GPU.
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
    /// Writes what came out, and which tactics computed each case, to a file; `-` means standard output, which then
    /// holds nothing else.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases of one process among several, `0/16` say.
    #[arg(long, value_name = "NUMBER/COUNT", value_parser = part)]
    part: Option<(usize, usize)>,
    /// Writes the page of operators and their kernels instead.
    #[arg(long)]
    operators: Option<PathBuf>,
    /// Only cases whose name contains one of these.
    filters: Vec<String>,
}

/// A number and a count, `0/16` say.
fn part(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)));
    parsed.filter(|(number, count)| number < count).ok_or_else(|| "a number and a larger count, 0/16 say".to_owned())
}

fn show(title: &str, report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    for (name, reason) in &report.failed {
        writeln!(out, "{name}: {reason}")?;
    }
    let skipped: usize = report.skipped.values().sum();
    let (passed, failed, ignored) = (report.passed, report.failed.len(), report.ignored);
    writeln!(out, "{title}: {passed} passed, {failed} failed, {ignored} ignored, {skipped} without this form")?;
    let mut reasons: Vec<_> = report.skipped.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut reasons = reasons.into_iter().take(12);
    reasons.try_for_each(|(reason, count)| writeln!(out, "    {count}: {}", reason.replace('\n', " ")))
}

/// A report for programs.
fn json_of(suite: &str, form: Form, by: &str, tier: Option<&str>, report: &Report) -> Json {
    let failed = report.failed.iter().map(|(name, reason)| json!({ "case": name, "reason": reason }));
    json!({
        "suite": suite, "form": form.name(), "by": by, "tier": tier,
        "passed": report.passed, "failed": failed.collect::<Vec<_>>(), "ignored": report.ignored,
        "skipped": report.skipped, "served_by": report.tactics,
    })
}

fn write_json(path: &Path, reports: &[Json]) -> Result<(), String> {
    let text = format!("{:#}\n", json!({ "runs": reports }));
    if path == Path::new("-") {
        return std::io::stdout().write_all(text.as_bytes()).map_err(|e| e.to_string());
    }
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    if let Some(path) = &arguments.operators {
        let page = sinter_conformance::operator_table::page(&arguments.data)?;
        return std::fs::write(path, page).map(|()| true).map_err(|e| format!("{}: {e}", path.display()));
    }
    Tier::requested().map_err(|e| e.to_string())?;
    let selection = Selection { filters: arguments.filters.clone(), part: arguments.part, ..Selection::default() };
    let form = |name| match name {
        FormName::Plain => Form::Plain,
        FormName::Symbolic => Form::Symbolic,
        FormName::Embedded => Form::Embedded(arguments.seed),
    };
    let (mut clean, mut reports) = (true, Vec::new());
    let only_json = arguments.json.as_deref() == Some(Path::new("-"));
    let mut out: Box<dyn Write> = if only_json { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
    let mut one = |title: &str, suite: &str, (by, tier): (&str, Option<&str>), machine: &mut Machine, form| {
        let report = run_suite(&arguments.data, suite, machine, form, &selection).map_err(|e| e.to_string())?;
        show(title, &report, &mut *out).map_err(|e| e.to_string())?;
        clean &= report.failed.is_empty();
        reports.push(json_of(suite, form, by, tier, &report));
        Ok::<(), String>(())
    };
    let mut failures = Vec::new();
    if arguments.full {
        for tier in TIERS {
            let mut machine = Machine::lean(Some(tier))?;
            for suite in SUITES {
                for name in [FormName::Plain, FormName::Symbolic, FormName::Embedded] {
                    let form = form(name);
                    let title = format!("{suite} {} {tier}", form.name());
                    one(&title, suite, ("lean", Some(tier)), &mut machine, form)?;
                }
            }
        }
        failures = sinter_conformance::light::run_all(&arguments.data.join("light"));
    } else {
        let tier = arguments.tier.as_deref();
        let (mut machine, by) = match arguments.by {
            By::Judge => (Machine::Judge, "judge"),
            By::FastJudge => (Machine::FastJudge, "fast-judge"),
            By::Engine => (Machine::Engine, "engine"),
            By::Lean => (Machine::lean(tier)?, "lean"),
            By::Gpu => (Machine::Gpu, "gpu"),
        };
        let (suite, form) = (arguments.suite.as_str(), form(arguments.form));
        one(&format!("{suite} {}", form.name()), suite, (by, tier), &mut machine, form)?;
    }
    for failure in &failures {
        writeln!(out, "{failure}").map_err(|e| e.to_string())?;
    }
    if let Some(path) = &arguments.json {
        write_json(path, &reports)?;
    }
    Ok(clean && failures.is_empty())
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
