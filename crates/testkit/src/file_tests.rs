//! File tests: a file holds what is given, a line `==>`, and what it becomes. `SINTER_BLESS=1` writes the second half.

use std::path::{Path, PathBuf};

/// The line between both halves.
const ARROW: &str = "==>\n";

/// The networks of a folder, in order.
///
/// # Panics
/// When the folder cannot be read.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder of file tests").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "ir")).collect();
    files.sort();
    files
}

/// Both halves of a file; the second one is empty where there is none yet.
pub fn halves(text: &str) -> (&str, &str) {
    text.split_once(ARROW).unwrap_or((text, ""))
}

/// Checks that every file, of which there are so many at least, says what its given half becomes.
///
/// # Panics
/// When a file differs, cannot be read or written, or there are fewer.
pub fn check(files: &[PathBuf], least: usize, result_of: impl Fn(&str) -> Result<String, String>) {
    let bless = std::env::var_os("SINTER_BLESS").is_some();
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a readable file");
        let (given, expected) = halves(&text);
        match result_of(given) {
            Err(reason) => failures.push(format!("{name}: {reason}")),
            Ok(found) if found == expected => {}
            Ok(found) if bless => {
                std::fs::write(path, format!("{given}{ARROW}{found}")).expect("a writable file");
            }
            Ok(found) => failures.push(format!("{name}: expected\n{expected}\nfound\n{found}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(files.len() >= least, "only {} files", files.len());
}
