//! Results: text for people on standard output, JSON for programs. With `--json -` standard output holds JSON only.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sinter::internals::base::one_line;
use sinter::internals::base::one_line::steers;
use sinter::internals::base::replace::replace;

use crate::failure::{Exit, Failure, advice};
use crate::files::{is_standard_output, is_stream};
use crate::flags::JsonFlags;
use crate::interrupt::while_writing;

/// Delivers a result: as text unless standard output is for JSON, and as JSON where asked for. Programs get names as they
/// are; `text` gets the result with every string in one line, so that lines are those of the text alone.
///
/// # Errors
/// When the JSON file cannot be written.
pub fn deliver<R: Serialize + DeserializeOwned>(
    report: &R,
    json: &JsonFlags,
    text: impl FnOnce(&R, &mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    if let Some(target) = json.target() {
        let mut bytes = serde_json::to_vec_pretty(report).map_err(no_json)?;
        bytes.push(b'\n');
        if is_standard_output(target) {
            return check_pipe(stdout.write_all(&bytes).and_then(|()| stdout.flush()));
        }
        write_file(target, &bytes)?;
    }
    let mut shown = Vec::new();
    let written = text(&in_one_line(report)?, &mut shown);
    check_pipe(written.and_then(|()| stdout.write_all(printable(&String::from_utf8_lossy(&shown)).as_bytes())))
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::new(Exit::Damaged, format!("the result is no JSON: {error}; please report this"))
}

/// The same result with every string in it in one line.
fn in_one_line<R: Serialize + DeserializeOwned>(report: &R) -> Result<R, Failure> {
    let mut value = serde_json::to_value(report).map_err(no_json)?;
    escape(&mut value);
    serde_json::from_value(value).map_err(no_json)
}

fn escape(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(line) = one_line(text) {
                *text = line;
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(escape),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(escape),
        _ => {}
    }
}

/// Text of several lines that people see: what else steers a terminal is escaped.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) && !matches!(c, '\n' | '\t') { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Says something that the command goes on in spite of.
pub fn warn(what: &str) {
    eprintln!("warning: {}", one_line(what));
}

/// Says something that the user may want to know.
pub fn note(what: &str) {
    eprintln!("note: {}", one_line(what));
}

/// Writes a whole file or none; into a pipe or device, it writes at once.
///
/// # Errors
/// When the file cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failure = |e: std::io::Error| Failure::usage(format!("cannot write: {e}")).at(path).help(advice(e.kind()));
    if is_stream(path) {
        // The reader of the stream may block this write, and an interrupt must not wait for the reader.
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
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(printable("ä\t░\n"), "ä\t░\n");
        assert_eq!(printable("a\x1b[31m\r\u{9b}b"), r"a\u{1b}[31m\r\u{9b}b");
    }

    #[test]
    fn strings_of_a_result_stay_in_their_line_for_people() {
        let report = vec![(7u64, Some("a\nb".to_owned()), 0.1), (u64::MAX, None, 1e300)];
        let shown = in_one_line(&report).unwrap();
        assert_eq!(shown, [(7, Some(r"a\nb".to_owned()), 0.1), (u64::MAX, None, 1e300)]);
    }
}
