//! `cargo xtask zoo`.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::command::{is_ci, root, run as run_program};
use crate::python::environment;

/// Which graphs to build.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder in which to fill graphs, one at a time; the largest takes 2 GB [default: the system's temporary folder]
    #[arg(long)]
    work: Option<PathBuf>,
    /// Names of graphs; all by default.
    names: Vec<String>,
}

/// The command that builds graphs and compares; `None`, with the reason told, where the graphs are missing. The program
/// `sinter` is that of the tests, whose profile optimizes as much as a release and checks more.
pub(crate) fn command(names: &[String], work: Option<&Path>) -> Result<Option<Command>, String> {
    let shared = std::env::var_os("SINTER_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let zoo = shared.join("zoo");
    if !zoo.is_dir() {
        let reason = format!("skipped: {} is not there; set SINTER_SHARED", zoo.display());
        println!("{reason}");
        return if is_ci() { Err(reason) } else { Ok(None) };
    }
    let mut python = Command::new(environment()?);
    python.arg(root().join("scripts/zoo.py")).arg("--zoo").arg(zoo);
    python.arg("--sinter").arg(root().join("target/debug/sinter")).args(names);
    if let Some(work) = work {
        python.arg("--work").arg(work);
    }
    Ok(Some(python))
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    run_program(Command::new("cargo").current_dir(root()).args(["build", "--quiet", "--package", "sinter-cli"]))?;
    match command(&options.names, options.work.as_deref())? {
        Some(mut python) => run_program(&mut python),
        None => Ok(()),
    }
}
