//! `--json`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::output::check_writable;

/// Results for programs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct JsonFlags {
    /// Write the result as JSON to a file; `-` means standard output, which then holds nothing else
    ///
    /// The fields are described in docs/cli, one schema per command.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl JsonFlags {
    /// Where to; `-` for standard output.
    pub fn target(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// Fails before any work is done when the file could not be written after it.
    ///
    /// # Errors
    /// Why.
    pub fn check(&self) -> Result<(), Failure> {
        match self.target() {
            Some(path) if path != Path::new("-") => check_writable(path),
            _ => Ok(()),
        }
    }
}
