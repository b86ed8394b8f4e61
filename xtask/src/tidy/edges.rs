//! Crate edges: a crate may depend only on the crates of its line. A crate without a line is an error.

use std::path::Path;

use crate::tidy::Finding;

/// (crate, what it may depend on), layer by layer. DESIGN and ARCHITECTURE draw the same picture.
const EDGES: &[(&str, &[&str])] = &[
    // Layer 0: shared types.
    ("macros", &[]),
    ("base", &["macros"]),
    // Layer 1: definitions of operators and networks. `ops` knows no network.
    ("ops", &["base"]),
    ("ir", &["base", "ops"]),
    ("interp", &["base", "ops", "ir"]),
    // Layer 2: rewriting and selection. Back ends see one region, never a network.
    ("passes", &["base", "ops", "ir"]),
    ("backend", &["base", "ops"]),
    ("plan", &["base", "ops", "backend"]),
    // Layer 3: execution, importers and builder.
    ("cpu", &["base", "ops", "backend"]),
    ("cuda", &["base", "ops", "backend"]),
    ("import-onnx", &["base", "ops", "ir"]),
    ("tensor-io", &["base"]),
    ("builder", &["base", "ops", "ir", "interp", "passes", "backend", "plan", "runtime"]),
    // The lean runtime: no network, no importer, no compiler.
    ("runtime", &["base", "ops", "backend", "plan"]),
    // Layer 4: public crates. The lean program runs plans and links no code that could make one; the program uses the
    // other crates only through the public interface.
    ("lean", &["base", "plan", "cpu", "runtime"]),
    (
        "sinter",
        &[
            "base",
            "ops",
            "ir",
            "interp",
            "passes",
            "backend",
            "plan",
            "cpu",
            "cuda",
            "import-onnx",
            "tensor-io",
            "builder",
            "runtime",
        ],
    ),
    ("cli", &["sinter"]),
    // Development crates.
    ("testkit", &[]),
    ("fake", &["base", "ops", "backend"]),
    ("bench", &["base", "ops", "backend", "cpu", "builder", "runtime", "conformance"]),
    (
        "conformance",
        &[
            "base",
            "ops",
            "ir",
            "interp",
            "backend",
            "plan",
            "cpu",
            "cuda",
            "fake",
            "import-onnx",
            "tensor-io",
            "builder",
            "runtime",
            "lean",
            "testkit",
        ],
    ),
];

/// (crate, what its tests may depend on as well, why). Tests of a crate may depend on other crates only if this list
/// contains them.
const TEST_EDGES: &[(&str, &[&str], &str)] = &[
    (
        "passes",
        &["import-onnx", "interp", "tensor-io", "testkit"],
        "tests import exported graphs and compare results with the reference executor; random numbers, file tests",
    ),
    ("builder", &["cpu", "testkit"], "the host device launches kernels of tests; random numbers, file tests"),
    ("runtime", &["testkit", "cpu"], "tests prove that a run in the steady state allocates nothing; the rest as above"),
];

/// All crates that the lean program may link, directly or indirectly: no network, no importer, no compiler, no
/// reference executor.
const LEAN: (&str, &[&str]) = ("lean", &["macros", "base", "ops", "backend", "plan", "cpu", "runtime"]);

/// Every crate that `from` reaches.
fn reached(from: &str) -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for next in EDGES.iter().filter(|(n, _)| *n == name).flat_map(|(_, allowed)| *allowed) {
            if !found.contains(next) {
                found.push(next);
                open.push(next);
            }
        }
    }
    found
}

/// The crates of this workspace among a manifest's dependencies, with test dependencies listed separately, and
/// including target-specific ones.
fn dependencies(manifest: &toml::Table) -> (Vec<String>, Vec<String>) {
    let own = |table: &toml::Table, section: &str| -> Vec<String> {
        let entries = table.get(section).and_then(|v| v.as_table()).into_iter().flatten();
        let packages = entries.map(|(name, entry)| entry.get("package").and_then(|p| p.as_str()).unwrap_or(name));
        let own = packages.filter_map(|name| name.strip_prefix("sinter-").or((name == "sinter").then_some(name)));
        own.map(str::to_owned).collect()
    };
    let targets = manifest.get("target").and_then(|v| v.as_table()).into_iter().flatten();
    let (mut always, mut tests) = (Vec::new(), Vec::new());
    for table in std::iter::once(manifest).chain(targets.filter_map(|(_, target)| target.as_table())) {
        always.extend(own(table, "dependencies").into_iter().chain(own(table, "build-dependencies")));
        tests.extend(own(table, "dev-dependencies"));
    }
    (always, tests)
}

/// The dependencies of a crate that its line does not allow.
fn forbidden(folder: &str, manifest: &toml::Table) -> Vec<String> {
    let allowed = EDGES.iter().find(|(name, _)| *name == folder).map_or(&[][..], |(_, allowed)| *allowed);
    let in_tests = TEST_EDGES.iter().find(|(name, ..)| *name == folder).map_or(&[][..], |(_, allowed, _)| *allowed);
    let (always, tests) = dependencies(manifest);
    let always = always.iter().filter(|name| !allowed.contains(&name.as_str()));
    let tests = tests.iter().filter(|name| !allowed.contains(&name.as_str()) && !in_tests.contains(&name.as_str()));
    let always = always.map(|name| format!("{folder} must not depend on {name}"));
    always.chain(tests.map(|name| format!("tests of {folder} must not depend on {name}"))).collect()
}

pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(root.join("crates")).map_err(|e| e.to_string())?.flatten() {
        let folder = entry.file_name().to_string_lossy().into_owned();
        let place = format!("crates/{folder}/Cargo.toml");
        if !EDGES.iter().any(|(name, _)| *name == folder) {
            findings.push(Finding::new(place, "the crate is on no floor; add it to xtask/src/tidy/edges.rs"));
            continue;
        }
        if !architecture.contains(&format!("`{folder}`")) {
            findings.push(Finding::new("ARCHITECTURE.md", format!("the crate `{folder}` is not on the map")));
        }
        let text = std::fs::read_to_string(root.join(&place)).map_err(|e| format!("{place}: {e}"))?;
        let manifest: toml::Table = text.parse().map_err(|e| format!("{place}: {e}"))?;
        findings.extend(forbidden(&folder, &manifest).into_iter().map(|problem| Finding::new(place.clone(), problem)));
        seen.push(folder);
    }
    for (name, _) in EDGES.iter().filter(|(name, _)| !seen.iter().any(|s| s == name)) {
        findings.push(Finding::new("xtask/src/tidy/edges.rs", format!("there is no crate {name}")));
    }
    let (lean, allowed) = LEAN;
    for name in reached(lean).into_iter().filter(|name| !allowed.contains(name)) {
        let problem = format!("{lean} reaches {name}, which a program that only runs plans must not link");
        findings.push(Finding::new("xtask/src/tidy/edges.rs", problem));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_edge_is_found_in_every_section() {
        let found = |folder: &str, manifest: &str| forbidden(folder, &manifest.parse().unwrap());
        assert!(found("ops", "[dependencies]\nsinter-base.workspace = true").is_empty());
        for section in ["dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let manifest = format!("[{section}]\nsinter-ir.workspace = true");
            assert_eq!(found("ops", &manifest), ["ops must not depend on ir"]);
        }
        assert_eq!(found("cpu", "[dev-dependencies]\nsinter-ir = {}"), ["tests of cpu must not depend on ir"]);
        assert_eq!(found("cpu", "[dependencies]\nx = { package = \"sinter\" }"), ["cpu must not depend on sinter"]);
        assert!(found("passes", "[dev-dependencies]\nsinter-interp = {}").is_empty());
        assert_eq!(found("passes", "[dependencies]\nsinter-interp = {}"), ["passes must not depend on interp"]);
    }
}
