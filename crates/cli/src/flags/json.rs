//! `--json`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::files::{Files, Form, is_standard_output};

/// Results for programs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct JsonFlags {
    /// Write the result as JSON to a file; `-` means standard output, which then holds nothing else
    ///
    /// The fields are described in docs/cli, one schema per command. A pipe or device is written into as it stands.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl JsonFlags {
    /// Where to; `-` for standard output.
    pub fn target(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// Takes in the file that the result goes to.
    pub fn name_files<'a>(&'a self, files: &mut Files<'a>) {
        let target = self.target().filter(|path| !is_standard_output(path));
        files.writes("--json", target, Form::FileOrStream);
    }
}
