//! Lists: an operator outside of the catalog, an import function outside of the table, a pass outside of the order, a
//! tactic outside of its family's table and a back end outside of the list are unreachable for the user; no test checks
//! the machine code of a kernel outside of its list.

use std::collections::BTreeMap;

use crate::tidy::{BACK_ENDS, Finding, Source};

fn text_of<'a>(sources: &'a [Source], path: &str) -> &'a str {
    sources.iter().find(|s| s.path == path).map_or("", |s| s.text.as_str())
}

/// The identifier after `prefix` in a line.
fn identifier_after<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = &line[line.find(prefix)? + prefix.len()..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = operators(sources);
    findings.extend(import_functions(sources));
    findings.extend(catalog_numbers(sources));
    findings.extend(passes(sources));
    findings.extend(BACK_ENDS.iter().flat_map(|folder| tactics(folder, sources)));
    findings.extend(back_ends(sources));
    findings.extend(kernels(sources));
    findings
}

/// Files with functions for an instruction set whose machine code no test checks, each with a reason.
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

/// Words of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn passes(sources: &[Source]) -> Vec<Finding> {
    let pipeline = "crates/passes/src/pipeline.rs";
    let order = text_of(sources, pipeline);
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("crates/passes/src/") && s.path != pipeline) {
        let Some(stem) = source.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")) else { continue };
        for entry in ["rewrite", "sweep"] {
            let defined = source.text.contains(&format!("pub(crate) fn {entry}("));
            if defined && !order.contains(&format!("{stem}::{entry})")) {
                findings.push(Finding::new(source.path.clone(), format!("pass {stem}::{entry} is not in pipeline.rs")));
            }
        }
    }
    let groups = order.split_once("const GROUPS").map_or("", |(_, rest)| rest.split("];").next().unwrap_or_default());
    let named = order.lines().filter(|line| line.contains(": Pass = "));
    for name in named.filter_map(|line| identifier_after(line, "const ")) {
        if !words(groups).any(|word| word == name) {
            findings.push(Finding::new(pipeline, format!("{name} is in no group")));
        }
    }
    findings
}

/// Checks that this program covers the sources of each back end, and that the user can select it.
fn back_ends(sources: &[Source]) -> Vec<Finding> {
    let list = text_of(sources, "crates/sinter/src/backends.rs");
    let mut findings = Vec::new();
    // Those of the conformance suites imitate others, and the fake device is for tests only.
    let development = ["crates/conformance/", "crates/fake/"];
    let shipped =
        |s: &&Source| s.path.contains("/src/") && !development.iter().any(|folder| s.path.starts_with(folder));
    for source in sources.iter().filter(shipped) {
        for name in source.text.lines().filter_map(|line| line.strip_prefix("impl BackEnd for ")) {
            let name = words(name).next().unwrap_or_default();
            if !BACK_ENDS.iter().any(|folder| source.path.starts_with(folder)) {
                findings.push(Finding::new("xtask/src/tidy/mod.rs", format!("BACK_ENDS lacks {}", source.path)));
            }
            if !list.contains(&format!("&{name}")) {
                findings.push(Finding::new(source.path.clone(), format!("back end {name} is not in backends.rs")));
            }
        }
    }
    findings
}

/// Checks that each tactic is in its family's table, and each table in that of the back end.
fn tactics(folder: &str, sources: &[Source]) -> Vec<Finding> {
    let back_end = format!("{folder}back_end.rs");
    let families = text_of(sources, &back_end);
    let own = || sources.iter().filter(|s| s.path.starts_with(folder));
    let kinds = own().flat_map(|s| s.text.lines()).filter_map(|line| identifier_after(line, "impl Tactic for "));
    let kinds: Vec<&str> = kinds.collect();
    let mut findings = Vec::new();
    for source in own() {
        let Some((folder, name)) = source.path.rsplit_once('/') else { continue };
        if name == "mod.rs" && source.text.contains("pub const TACTICS") {
            let family = folder.rsplit('/').next().unwrap_or_default();
            if !words(families).zip(words(families).skip(1)).any(|pair| pair == (family, "TACTICS")) {
                findings.push(Finding::new(back_end.clone(), format!("the tactics of {family} are in no list")));
            }
        }
        let constants = source.text.lines().filter_map(|line| line.trim().split_once(": "));
        for (tactic, kind) in constants.filter_map(|(left, right)| Some((left.rsplit_once("const ")?.1, right))) {
            if !kinds.iter().any(|k| kind.strip_prefix(k).is_some_and(|rest| rest.trim_start().starts_with('='))) {
                continue;
            }
            let stem = name.trim_end_matches(".rs");
            let table = text_of(sources, &format!("{folder}/mod.rs"));
            let table = table.split_once("const TACTICS").map_or("", |(_, rest)| rest);
            if !words(table).zip(words(table).skip(1)).any(|pair| pair == (stem, tactic)) {
                let problem = format!("tactic {tactic} is not in the table of {folder}/mod.rs");
                findings.push(Finding::new(source.path.clone(), problem));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{problems, source};

    const PIPELINE: &str = "const GELU: Pass = Pass::node(\"gelu\", gelu::rewrite);\n\
        pub const GROUPS: &[(&str, &[Pass])] = &[(\"all\", &[GELU])];\nfn after() {}";

    #[test]
    fn a_pass_outside_the_order_is_found() {
        let entry = "pub(crate) fn rewrite(cx: &Cx) {}";
        let mut sources =
            vec![source("crates/passes/src/pipeline.rs", PIPELINE), source("crates/passes/src/gelu.rs", entry)];
        assert!(passes(&sources).is_empty());
        sources.push(source("crates/passes/src/quick_gelu.rs", entry));
        assert_eq!(problems(passes(&sources)), ["pass quick_gelu::rewrite is not in pipeline.rs"]);
        let unused = PIPELINE.replace("&[GELU]", "&[]");
        sources = vec![source("crates/passes/src/pipeline.rs", &unused)];
        assert_eq!(problems(passes(&sources)), ["GELU is in no group"]);
    }

    #[test]
    fn a_back_end_outside_of_the_list_is_found() {
        let files = |path: &str, list: &str| {
            vec![source(path, "impl BackEnd for Cpu {"), source("crates/sinter/src/backends.rs", list)]
        };
        assert!(back_ends(&files("crates/cpu/src/back_end.rs", "&[&Cpu]")).is_empty());
        let found = problems(back_ends(&files("crates/cpu/src/back_end.rs", "&[]")));
        assert_eq!(found, ["back end Cpu is not in backends.rs"]);
        let found = problems(back_ends(&files("crates/abacus/src/lib.rs", "&[&Cpu]")));
        assert_eq!(found, ["BACK_ENDS lacks crates/abacus/src/lib.rs"]);
    }

    #[test]
    fn a_tactic_outside_its_table_is_found() {
        let files = |table: &str, families: &str| {
            vec![
                source("crates/cpu/src/tactic.rs", "impl Tactic for Row {\n    const COUNT: usize = 1;"),
                source("crates/cpu/src/back_end.rs", families),
                source("crates/cpu/src/pool/mod.rs", table),
                source("crates/cpu/src/pool/rows.rs", "pub const ROWS: Row = Row {\npub const WIDTH: usize = 4;"),
            ]
        };
        let (table, families) = ("pub const TACTICS: &[&dyn Tactic] = &[&rows::ROWS];", "&[pool::TACTICS]");
        assert!(tactics(BACK_ENDS[0], &files(table, families)).is_empty());
        let found = problems(tactics(
            BACK_ENDS[0],
            &files("use rows::ROWS;\npub const TACTICS: &[&dyn Tactic] = &[];", families),
        ));
        assert_eq!(found, ["tactic ROWS is not in the table of crates/cpu/src/pool/mod.rs"]);
        assert_eq!(problems(tactics(BACK_ENDS[0], &files(table, "&[]"))), ["the tactics of pool are in no list"]);
    }
}
