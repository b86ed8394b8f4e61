//! Documents: checks that the files which pages name exist.

use std::path::Path;

use walkdir::WalkDir;

use crate::tidy::{Finding, Source};

/// Ends of names that are looked up.
const ENDS: &[&str] = &[".rs", ".toml", ".md", ".txt", ".py", ".json"];

/// Does the folder contain only foreign files?
fn is_foreign(name: &str) -> bool {
    matches!(name, "target" | ".git" | ".venv")
}

/// Every file of the repository, relative to its root.
fn files(root: &Path) -> Vec<String> {
    let entries = WalkDir::new(root).into_iter().filter_entry(|e| !e.file_name().to_str().is_some_and(is_foreign));
    let entries = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    entries.filter_map(|e| Some(e.path().strip_prefix(root).ok()?.to_string_lossy().into_owned())).collect()
}

/// Names of files between backticks and in links, without those that contain placeholders.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let linked = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let is_file = |name: &&str| {
        let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
        ENDS.iter().any(|end| name.len() > end.len() && name.ends_with(end)) && name.chars().all(plain)
    };
    quoted.chain(linked).filter(is_file)
}

/// The documents at the root and in `docs`.
pub(crate) fn read(root: &Path) -> Vec<Source> {
    let is_document = |path: &&String| path.ends_with(".md") && (path.starts_with("docs/") || !path.contains('/'));
    let read =
        |path: &String| Some(Source { text: std::fs::read_to_string(root.join(path)).ok()?, path: path.clone() });
    files(root).iter().filter(is_document).filter_map(read).collect()
}

/// Checks that all files which the documents name exist.
pub(crate) fn check(root: &Path, documents: &[Source]) -> Vec<Finding> {
    missing(documents, &files(root))
}

fn missing(documents: &[Source], files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents {
        for name in named(&document.text) {
            // The end of a path suffices where the reader knows the folder.
            let end = format!("/{name}");
            if !files.iter().any(|path| path == name || path.ends_with(&end)) {
                findings.push(Finding::new(document.path.clone(), format!("there is no file {name}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{problems, source};

    #[test]
    fn a_file_that_does_not_exist_is_found() {
        let text =
            "See `ops/src/catalog.rs`, [more](docs/cli/README.md#files), `<pass>.rs`, `x.onnx` and `--json FILE`.";
        let mut files = vec!["crates/ops/src/catalog.rs".to_owned(), "docs/cli/README.md".to_owned()];
        assert!(missing(&[source("README.md", text)], &files).is_empty());
        files.remove(0);
        let found = problems(missing(&[source("README.md", text)], &files));
        assert_eq!(found, ["there is no file ops/src/catalog.rs"]);
    }
}
