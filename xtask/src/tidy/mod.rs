//! `cargo xtask tidy`: checks the rules of the architecture.

mod circles;
mod documents;
mod edges;
mod files;
mod host;
mod lists;
mod modules;
mod words;

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::command::root;

/// Sources of the back ends.
pub(crate) const BACK_ENDS: &[&str] = &["crates/cpu/src/", "crates/cuda/src/"];

/// One finding: where, and what is wrong.
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) problem: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// A source file with its path relative to the root.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All Rust sources of the workspace.
fn sources(root: &Path) -> Vec<Source> {
    let folders = ["crates", "xtask", "fuzz"].map(|f| root.join(f));
    let mut sources: Vec<Source> = folders
        .iter()
        .flat_map(|folder| WalkDir::new(folder).into_iter().filter_entry(|e| e.file_name() != "target"))
        .filter_map(Result::ok)
        .map(|entry| entry.into_path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .filter_map(|path| Some(Source { text: std::fs::read_to_string(&path).ok()?, path: relative(root, path) }))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn relative(root: &Path, path: PathBuf) -> String {
    path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned()
}

pub(crate) fn run() -> Result<(), String> {
    let root = root();
    let sources = sources(&root);
    let mut findings = edges::check(&root)?;
    let documents = documents::read(&root);
    findings.extend(documents::check(&root, &documents));
    findings.extend(files::check(&sources));
    findings.extend(lists::check(&sources));
    findings.extend(host::check(&sources));
    findings.extend(modules::check(&sources));
    findings.extend(circles::check(&sources));
    findings.extend(words::check(sources.iter().chain(&documents)));
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(());
    }
    for finding in &findings {
        println!("{}: {}", finding.place, finding.problem);
    }
    Err(format!("tidy: {} findings", findings.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A synthetic file.
    pub(crate) fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    /// The texts of findings.
    pub(crate) fn problems(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.problem).collect()
    }
}
