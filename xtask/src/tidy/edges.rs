//! Crate edges: each crate depends only on what its line allows. What is not in the list does not exist.

use std::path::Path;

use crate::tidy::Finding;

/// (crate, what it may depend on), floor by floor. DESIGN and ARCHITECTURE draw the same picture.
const EDGES: &[(&str, &[&str])] = &[
    // Floor 0: words.
    ("macros", &[]),
    ("base", &["macros"]),
    // Floor 1: meaning. `ops` knows no network.
    ("ops", &["base"]),
    ("ir", &["base", "ops"]),
    ("interp", &["base", "ops", "ir"]),
    // Floor 2: change and choice. Back ends see one region, never a network.
    ("passes", &["base", "ops", "ir"]),
    ("backend", &["base", "ops"]),
    ("plan", &["base", "ops", "backend"]),
    // Floor 3: doing.
    ("cpu", &["base", "ops", "backend"]),
    ("import-onnx", &["base", "ops", "ir"]),
    ("tensor-io", &["base"]),
    ("builder", &["base", "ops", "ir", "interp", "passes", "backend", "plan", "runtime"]),
    // The lean runtime: no network, no importer, no compiler.
    ("runtime", &["base", "ops", "backend", "plan"]),
    // Floor 4: doors. The lean program runs plans and links nothing that could make one.
    ("lean", &["base", "plan", "cpu", "runtime"]),
    // Floor 4: doors. The program sees the other crates only through the public interface.
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
            "import-onnx",
            "tensor-io",
            "builder",
            "runtime",
        ],
    ),
    ("cli", &[]),
    // Basement.
    ("testkit", &[]),
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
            "import-onnx",
            "tensor-io",
            "builder",
            "runtime",
            "lean",
        ],
    ),
];

/// All that the lean program may reach, over any number of edges: no network, no importer, no compiler, no judge.
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

pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(root.join("crates")).map_err(|e| e.to_string())?.flatten() {
        let folder = entry.file_name().to_string_lossy().into_owned();
        let manifest = entry.path().join("Cargo.toml");
        let place = format!("crates/{folder}/Cargo.toml");
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == folder) else {
            findings.push(Finding::new(place, "the crate is on no floor; add it to xtask/src/tidy/edges.rs"));
            continue;
        };
        if !architecture.contains(&format!("`{folder}`")) {
            findings.push(Finding::new("ARCHITECTURE.md", format!("the crate `{folder}` is not on the map")));
        }
        seen.push(folder.clone());
        let text = std::fs::read_to_string(&manifest).map_err(|e| format!("{place}: {e}"))?;
        let parsed: toml::Table = text.parse().map_err(|e| format!("{place}: {e}"))?;
        for section in ["dependencies", "build-dependencies"] {
            let names = parsed.get(section).and_then(|v| v.as_table()).into_iter().flat_map(|t| t.keys());
            for name in names.filter_map(|n| n.strip_prefix("sinter-")) {
                if !allowed.contains(&name) {
                    findings.push(Finding::new(place.clone(), format!("{folder} must not depend on {name}")));
                }
            }
        }
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
