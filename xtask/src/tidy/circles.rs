//! Circles among files: in a crate of this list no file uses another one that uses it, directly or not.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::{Finding, Source};

/// Crates without circles.
const CRATES: &[&str] = &["builder"];

/// The module of a file below `src`, as a path behind `crate::`; empty for the root.
fn module_of(path: &str, root: &str) -> Option<String> {
    let inside = path.strip_prefix(root)?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    Some(if inside == "lib" { String::new() } else { inside.replace('/', "::") })
}

/// Paths behind `crate::` in the code of a file, without its tests and comments; those in braces one by one.
fn paths(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let (path, behind) = rest.split_at(end);
        match behind.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some((inside, _)) if path.ends_with("::") => {
                let names = inside.split(',').map(|name| name.split_whitespace().next().unwrap_or_default());
                found.extend(names.filter(|name| *name != "self").map(|name| format!("{path}{name}")));
                found.extend(inside.contains("self").then(|| path.trim_end_matches(':').to_owned()));
            }
            _ => found.push(path.trim_end_matches(':').to_owned()),
        }
    }
    found
}

/// The longest beginning of a path that is a module.
fn resolved<'m>(path: &str, modules: &'m BTreeMap<String, String>) -> Option<&'m str> {
    let mut path = path;
    loop {
        if let Some((known, _)) = modules.get_key_value(path) {
            return Some(known);
        }
        path = path.rsplit_once("::")?.0;
    }
}

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    CRATES.iter().filter_map(|name| circle(&format!("crates/{name}/src/"), sources)).collect()
}

/// The files of a crate that are in circles, or between two.
fn circle(root: &str, sources: &[Source]) -> Option<Finding> {
    let modules: BTreeMap<String, String> =
        sources.iter().filter_map(|source| Some((module_of(&source.path, root)?, source.text.clone()))).collect();
    let uses = |(module, text): (&String, &String)| {
        let uses = paths(text).into_iter().filter_map(|path| resolved(&path, &modules));
        (module.clone(), uses.filter(|used| !used.is_empty() && used != module).map(str::to_owned).collect())
    };
    let mut left: BTreeMap<String, BTreeSet<String>> = modules.iter().map(uses).collect();
    loop {
        let used: BTreeSet<&String> = left.values().flatten().collect();
        let is_free = |(module, uses): &(&String, &BTreeSet<String>)| {
            !used.contains(module) || uses.iter().all(|used| !left.contains_key(used))
        };
        let free: Vec<String> = left.iter().filter(is_free).map(|(module, _)| module.clone()).collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|module| _ = left.remove(module));
        left.values_mut().for_each(|uses| uses.retain(|used| !free.contains(used)));
    }
    let files: Vec<&str> = left.keys().map(String::as_str).collect();
    (!files.is_empty())
        .then(|| Finding::new(root, format!("these modules use each other in circles: {}", files.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{problems, source};

    #[test]
    fn circles_are_found_and_tests_and_comments_are_not_code() {
        let files = |last: &str| {
            vec![
                source("crates/builder/src/lib.rs", "mod a; mod b; pub use crate::a::A;"),
                source("crates/builder/src/a.rs", "use crate::b::{self, B};\nuse crate::c::C;"),
                source(
                    "crates/builder/src/b/mod.rs",
                    "//! See crate::a.\n#[cfg(test)]\nmod tests { use crate::a::A; }",
                ),
                source("crates/builder/src/c.rs", last),
                source("crates/other/src/a.rs", "use crate::b::B;"),
                source("crates/other/src/b.rs", "use crate::a::A;"),
            ]
        };
        assert!(check(&files("use crate::b::B;")).is_empty());
        let found = problems(check(&files("use crate::a::A;")));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("circles: a, c"), "{found:?}");
    }
}
