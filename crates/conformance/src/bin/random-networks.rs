//! Compares random networks with the reference executor: `random-networks COUNT [--from SEED]`. `cargo xtask random`
//! runs it.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::process::ExitCode;

use clap::Parser;
use sinter_conformance::random::{campaign, grown};

/// Compares random networks with the reference executor.
#[derive(Parser)]
struct Arguments {
    /// How many.
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Prints the networks and runs none.
    #[arg(long)]
    show: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = arguments.from..arguments.from.saturating_add(arguments.count);
    if arguments.show {
        seeds.for_each(|seed| println!("{}", grown(seed)));
        return ExitCode::SUCCESS;
    }
    let summary = campaign::run(seeds, &|fault| println!("seed {}: {}\n{}\n", fault.seed, fault.reason, fault.text));
    for (operator, count) in &summary.operators {
        println!("{count:7} {operator}");
    }
    println!("{} agreed, {} refused, {} failed", summary.agreed, summary.refused, summary.faults.len());
    let seeds: Vec<String> = summary.faults.iter().map(|fault| fault.seed.to_string()).collect();
    println!("failed seeds: {}", seeds.join(" "));
    ExitCode::from(u8::from(!summary.faults.is_empty()))
}
