//! `cargo xtask zoo`.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::command::{is_ci, root, run as run_program};
use crate::python::environment;

/// Which graphs to build.
#[derive(Args)]
pub(crate) struct Options {
    /// Where to fill graphs, one at a time; the largest takes 2 GB [default: the system's temporary folder]
    #[arg(long)]
    work: Option<PathBuf>,
    /// Names of graphs; all by default.
    names: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let shared = std::env::var_os("SINTER_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let zoo = shared.join("zoo");
    if !zoo.is_dir() {
        let reason = format!("skipped: {} is not there; set SINTER_SHARED", zoo.display());
        println!("{reason}");
        return if is_ci() { Err(reason) } else { Ok(()) };
    }
    run_program(Command::new("cargo").current_dir(root()).args(["build", "--release", "--package", "sinter-cli"]))?;
    let mut python = Command::new(environment()?);
    python.arg(root().join("scripts/zoo.py")).arg("--zoo").arg(zoo);
    python.arg("--sinter").arg(root().join("target/release/sinter")).args(&options.names);
    if let Some(work) = &options.work {
        python.arg("--work").arg(work);
    }
    run_program(&mut python)
}
