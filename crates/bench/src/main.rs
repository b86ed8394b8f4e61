//! `sinter-bench`: times every kernel on the examples of the catalog.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value as Json, json};
use sinter_backend::BackEnd;
use sinter_bench::table::{HEAD, Options, measure};
use sinter_cpu::{Cpu, Tier};

/// Times every kernel on the examples of the catalog.
///
/// The examples are small and stay in the caches: rows compare the tactics of one problem and tell what a launch costs.
/// Whole networks are timed by `sinter bench`.
#[derive(Parser)]
struct Arguments {
    /// Only rows whose operator, example, element type or tactic contains one of these.
    filters: Vec<String>,
    /// Every element type that the operators take, not only the examples' own.
    #[arg(long)]
    every_type: bool,
    /// Rounds per row, of which the median counts.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Threads of a kernel.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Writes the rows as JSON to a file; `-` means standard output, which then holds nothing else.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn run(arguments: Arguments) -> Result<(), String> {
    Tier::requested().map_err(|e| e.to_string())?;
    let Arguments { filters, every_type, rounds, threads, json } = arguments;
    let only_json = json.as_deref() == Some(Path::new("-"));
    let device = Cpu.target(threads).to_string();
    let mut out = std::io::stdout();
    let mut show = |line: &dyn Display| match only_json {
        true => Ok(()),
        false => writeln!(out, "{line}").map_err(|e| e.to_string()),
    };
    show(&format_args!("{device}\n{HEAD}"))?;
    let mut rows: Vec<Json> = Vec::new();
    measure(&Options { filters, every_type, rounds, threads }, &mut |row| {
        rows.push(row.json());
        show(&row)
    })?;
    let text = format!("{:#}\n", json!({ "device": device, "machine": Cpu.machine(), "rows": rows }));
    match json {
        Some(_) if only_json => out.write_all(text.as_bytes()).map_err(|e| e.to_string())?,
        Some(path) => std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?,
        None => {}
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}
