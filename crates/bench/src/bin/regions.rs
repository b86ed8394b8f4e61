//! `regions`: times fused regions beside their split form, rounds of both interleaved.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sinter_backend::BackEnd;
use sinter_base::Value;
use sinter_conformance::split::{Case, cases, is_chosen, numbers, plans};
use sinter_cpu::Cpu;
use sinter_runtime::Engine;

/// Times fused regions beside their split form, rounds of both interleaved.
#[derive(Parser)]
struct Arguments {
    /// Only regions whose name contains one of these.
    filters: Vec<String>,
    /// Rounds, of which the median counts.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Time of one plan in one round.
const ROUND: Duration = Duration::from_millis(30);

/// Microseconds of a run: the smallest of a round, since others work on the machine.
fn round(engine: &Engine, inputs: &[(String, Value)]) -> Result<f64, String> {
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < ROUND {
        let before = Instant::now();
        engine.run(inputs.to_vec()).map_err(|e| e.to_string())?;
        least = least.min(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(least)
}

fn quantile(sorted: &[f64], of: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * of).round() as usize]
}

fn measure(case: &Case, rounds: usize, threads: usize) -> Result<String, String> {
    let engine = |plan| Engine::from_plan(plan, &[&Cpu], threads).map_err(|e| e.to_string());
    let [fused, split] = plans(&case.network, case.tactic, threads)?;
    let (fused, split) = (engine(fused)?, engine(split)?);
    let inputs = [("x".to_owned(), Value::Tensor(numbers(&case.sizes, 9)))];
    let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for position in 0..rounds.max(1) {
        // Each goes first in every second round.
        let (a, b) = match position % 2 {
            0 => (round(&fused, &inputs)?, round(&split, &inputs)?),
            _ => {
                let split = round(&split, &inputs)?;
                (round(&fused, &inputs)?, split)
            }
        };
        times[0].push(a);
        times[1].push(b);
        ratios.push(b / a);
    }
    times.iter_mut().chain([&mut ratios]).for_each(|list| list.sort_by(f64::total_cmp));
    let chosen = if is_chosen(&case.network, case.tactic, threads)? { "yes" } else { "no" };
    Ok(format!(
        "| {} | {:.1} | {:.1} | {:.2} [{:.2}, {:.2}] | {chosen} |",
        case.name,
        quantile(&times[0], 0.5),
        quantile(&times[1], 0.5),
        quantile(&ratios, 0.5),
        quantile(&ratios, 0.25),
        quantile(&ratios, 0.75),
    ))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut out = std::io::stdout();
    let mut show = |line: &str| writeln!(out, "{line}").map_err(|e| e.to_string());
    show(&format!("{}, {}\n", Cpu.target(arguments.threads), Cpu.machine()))?;
    show("| region | fused us | split us | split / fused | chosen |\n|---|---|---|---|---|")?;
    let is_wanted = |case: &Case| {
        arguments.filters.is_empty() || arguments.filters.iter().any(|filter| case.name.contains(filter.as_str()))
    };
    for case in cases().iter().filter(|case| is_wanted(case)) {
        show(&measure(case, arguments.rounds, arguments.threads)?)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}
