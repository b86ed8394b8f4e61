//! Results: text for people on standard output, JSON for programs. With `--json -` standard output holds JSON only.

use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::flags::JsonFlags;
use crate::interrupt::while_writing;

/// Fails early when a file could not be written later; leaves no trace.
///
/// # Errors
/// When the folder of the file is missing or takes no files.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    let refuse = |e: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot write here: {e}"))
            .at(path)
            .help("choose another place, or make the folder first")
    };
    if path.is_dir() {
        return Err(refuse(&"it is a folder"));
    }
    tempfile::tempfile_in(folder_of(path)).map(drop).map_err(|e| refuse(&e))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Delivers a result: as text unless standard output is for JSON, and as JSON where asked for.
///
/// # Errors
/// When the JSON file cannot be written.
pub fn deliver<R: Serialize>(
    report: &R,
    json: &JsonFlags,
    text: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match json.target() {
        None => check_pipe(text(&mut stdout)),
        Some(target) => {
            let mut bytes = serde_json::to_vec_pretty(report)
                .map_err(|e| Failure::new(Exit::Damaged, format!("the result is no JSON: {e}; please report this")))?;
            bytes.push(b'\n');
            if target == Path::new("-") {
                return check_pipe(stdout.write_all(&bytes).and_then(|()| stdout.flush()));
            }
            write_file(target, &bytes)?;
            check_pipe(text(&mut stdout))
        }
    }
}

/// Writes a whole file or none.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let written = while_writing(|| {
        std::fs::write(&partial, bytes).and_then(|()| std::fs::rename(&partial, path)).inspect_err(|_| {
            // The error that matters is the first one.
            let _ = std::fs::remove_file(&partial);
        })
    });
    written.map_err(|e| Failure::usage(format!("cannot write: {e}")).at(path))
}

/// A reader that has seen enough (`sinter inspect FILE | head`) is no error.
fn check_pipe(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
