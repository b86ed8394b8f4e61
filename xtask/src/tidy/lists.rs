//! Lists: an operator that is in no catalog, or an import function that is in no table, does not exist for the user;
//! a kernel that is in no list has machine code that nobody looks at.

use std::collections::BTreeMap;

use crate::tidy::{Finding, Source};

fn text_of<'a>(sources: &'a [Source], path: &str) -> &'a str {
    sources.iter().find(|s| s.path == path).map_or("", |s| s.text.as_str())
}

/// What follows `prefix` in a line, up to the first character that is part of no identifier.
fn identifier_after<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = &line[line.find(prefix)? + prefix.len()..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = operators(sources);
    findings.extend(import_functions(sources));
    findings.extend(catalog_numbers(sources));
    findings.extend(kernels(sources));
    findings
}

/// Files with functions for an instruction set whose machine code no test looks at, each with a reason.
const INTERPRETERS: &[(&str, &str)] = &[
    ("crates/cpu/src/pointwise/program.rs", "loops over columns in memory, behind a jump for every operation"),
    ("crates/cpu/src/product/epilogue.rs", "as above"),
];

fn kernels(sources: &[Source]) -> Vec<Finding> {
    let own = sources.iter().filter(|s| s.path.starts_with("crates/cpu/src/") && s.text.contains("#[target_feature("));
    own.filter(|s| !s.text.contains("assert_in_registers(") && !INTERPRETERS.iter().any(|(path, _)| *path == s.path))
        .map(|s| Finding::new(s.path.clone(), "no test lists the kernels for machine_code.rs to look at"))
        .collect()
}

fn operators(sources: &[Source]) -> Vec<Finding> {
    let catalog = text_of(sources, "crates/ops/src/catalog.rs");
    let listed: Vec<&str> = catalog.lines().filter_map(|l| l.trim().strip_suffix(';')?.rsplit("::").next()).collect();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("crates/ops/src/")) {
        for name in source.text.lines().filter_map(|l| identifier_after(l, "impl Operator for ")) {
            if !listed.contains(&name) {
                findings.push(Finding::new(source.path.clone(), format!("operator {name} is not in catalog.rs")));
            }
        }
    }
    findings
}

fn import_functions(sources: &[Source]) -> Vec<Finding> {
    let table = text_of(sources, "crates/import-onnx/src/table.rs");
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("crates/import-onnx/src/ops/")) {
        let imports =
            source.text.lines().filter(|l| l.trim_end().ends_with("(cx: &mut NodeContext<'_, '_>) -> Imported {"));
        for name in imports.filter_map(|l| identifier_after(l, "pub fn ")).filter(|n| !n.is_empty()) {
            if !table.contains(&format!("::{name};")) {
                findings.push(Finding::new(source.path.clone(), format!("import function {name} is not in table.rs")));
            }
        }
    }
    findings
}

fn catalog_numbers(sources: &[Source]) -> Vec<Finding> {
    let catalog = text_of(sources, "crates/ops/src/catalog.rs");
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for (number, name) in catalog.lines().filter_map(|l| l.trim().split_once(" => ")) {
        if number.chars().all(|c| c.is_ascii_digit())
            && let Some(other) = seen.insert(number, name)
        {
            let problem = format!("number {number} names both {other} and {name}");
            findings.push(Finding::new("crates/ops/src/catalog.rs", problem));
        }
    }
    findings
}
