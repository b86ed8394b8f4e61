//! Results: text for people on standard output, JSON for programs. With `--json -` standard output holds JSON only.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;
use sinter::base::replace::replace;

use crate::failure::{Exit, Failure, advice};
use crate::files::{is_standard_output, is_stream};
use crate::flags::JsonFlags;
use crate::interrupt::while_writing;

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
        None => show(text, &mut stdout),
        Some(target) => {
            let mut bytes = serde_json::to_vec_pretty(report)
                .map_err(|e| Failure::new(Exit::Damaged, format!("the result is no JSON: {e}; please report this")))?;
            bytes.push(b'\n');
            if is_standard_output(target) {
                return check_pipe(stdout.write_all(&bytes).and_then(|()| stdout.flush()));
            }
            write_file(target, &bytes)?;
            show(text, &mut stdout)
        }
    }
}

fn show(text: impl FnOnce(&mut dyn Write) -> std::io::Result<()>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut shown = Vec::new();
    check_pipe(text(&mut shown).and_then(|()| out.write_all(printable(&String::from_utf8_lossy(&shown)).as_bytes())))
}

/// Text that people see, with the control characters of names in it escaped: what a file says must not steer a terminal.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}

/// Writes a whole file or none; into a pipe or device, it writes at once.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failure = |e: std::io::Error| Failure::usage(format!("cannot write: {e}")).at(path).help(advice(e.kind()));
    if is_stream(path) {
        // Whoever reads may keep it waiting: an interrupt must not wait with it.
        return match File::options().append(true).open(path).and_then(|mut stream| stream.write_all(bytes)) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failure(error)),
            _ => Ok(()),
        };
    }
    while_writing(|| replace(path, |file| file.write_all(bytes))).map_err(failure)
}

/// A reader that has seen enough (`sinter inspect FILE | head`) is no error.
fn check_pipe(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("cannot write to standard output: {error}")).help(advice(error.kind())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(printable("ä\t░\n"), "ä\t░\n");
        assert_eq!(printable("a\x1b[31m\r\u{9b}b"), r"a\u{1b}[31m\r\u{9b}b");
    }
}
