//! Running programs and finding the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{:?}", command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} ended with {status}")),
        Err(error) => Err(not_started(command, &error)),
    }
}

/// That a program could not be started, in words.
pub(crate) fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("{command:?} could not be started: {error}")
}

/// Are skipped tests failures?
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| v == "true")
}
