//! `sinter completions`: shell completions.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::files::Files;
use crate::flags::JsonFlags;
use crate::output::deliver;

const EXAMPLES: &str = "\
Examples:
  sinter completions bash > ~/.local/share/bash-completion/completions/sinter
  sinter completions fish > ~/.config/fish/completions/sinter.fish";

/// Print a shell's completions.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// The shell
    shell: Shell,

    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter completions`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The shell.
    pub shell: String,
    /// The script that the shell reads.
    pub script: String,
}

/// Runs the command.
///
/// # Errors
/// When standard output or the JSON file cannot be written.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    arguments.json.name_files(&mut files);
    files.check()?;
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::arguments::Arguments::command(), "sinter", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let report = Report { shell: arguments.shell.to_string(), script };
    deliver(&report, &arguments.json, |_, out| out.write_all(report.script.as_bytes()))
}
