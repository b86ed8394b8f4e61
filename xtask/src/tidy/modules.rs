//! Modules: cargo does not compile a file that no `mod` line names.

use crate::tidy::{Finding, Source};

/// Is a file where compilation starts, by its path?
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let name = parts.last().copied().unwrap_or_default();
    let folder = parts.iter().rev().nth(1).copied().unwrap_or_default();
    // Programs, and tests directly below `tests`.
    matches!(name, "lib.rs" | "main.rs" | "build.rs") || matches!(folder, "bin" | "tests" | "benches" | "fuzz_targets")
}

/// The folder whose root file must name this module, and the module's name.
fn module_of(path: &str) -> Option<(&str, &str)> {
    let (folder, name) = path.rsplit_once('/')?;
    match name {
        "mod.rs" => folder.rsplit_once('/'),
        _ => Some((folder, name.strip_suffix(".rs")?)),
    }
}

fn declares(text: &str, module: &str) -> bool {
    let lines = text.lines().map(str::trim).filter_map(|line| line.strip_suffix(';'));
    lines
        .filter_map(|line| line.rsplit_once("mod "))
        .any(|(before, name)| name == module && (before.is_empty() || before.starts_with("pub")))
}

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| !is_root(&s.path)) {
        let Some((folder, module)) = module_of(&source.path) else { continue };
        let parents = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{folder}{end}"));
        let mut parents = sources.iter().filter(|s| parents.contains(&s.path));
        if !parents.any(|parent| declares(&parent.text, module)) {
            findings.push(Finding::new(source.path.clone(), format!("no file has a line `mod {module};`")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{problems, source};

    #[test]
    fn a_forgotten_file_is_found() {
        let mut sources = vec![
            source("crates/a/src/lib.rs", "pub mod b;\nmod c;\npub(crate) mod d;"),
            source("crates/a/src/b/mod.rs", "mod e;"),
            source("crates/a/src/b/e.rs", ""),
            source("crates/a/src/c.rs", "mod f;"),
            source("crates/a/src/c/f.rs", ""),
            source("crates/a/src/d.rs", ""),
            source("crates/a/src/bin/tool.rs", ""),
            source("crates/a/tests/suite/main.rs", "mod g;"),
            source("crates/a/tests/suite/g.rs", ""),
        ];
        assert!(check(&sources).is_empty());
        sources.push(source("crates/a/src/b/forgotten.rs", ""));
        assert_eq!(problems(check(&sources)), ["no file has a line `mod forgotten;`"]);
    }
}
