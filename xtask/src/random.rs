//! `cargo xtask random`.

use std::process::Command;

use clap::Args;

use crate::command::{root, run as run_program};

/// How many networks.
#[derive(Args)]
pub(crate) struct Options {
    /// How many; 20,000 are a long run.
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Prints the networks and runs none.
    #[arg(long)]
    show: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args([
        "run",
        "--quiet",
        "--package",
        "sinter-conformance",
        "--bin",
        "random-networks",
        "--",
    ]);
    cargo.arg(options.count.to_string()).args(["--from", &options.from.to_string()]);
    if options.show {
        cargo.arg("--show");
    }
    run_program(&mut cargo)
}
