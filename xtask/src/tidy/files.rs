//! Files: a head comment, a bounded size, unsafe code only where it has a home, no unfinished marks.

use crate::tidy::{Finding, Source};

/// Longest source file.
const MAX_LINES: usize = 800;

/// Longer files, each with a reason.
const LONGER: &[(&str, &str)] = &[];

/// Where `unsafe` may be allowed (DESIGN section 11).
const UNSAFE_HOMES: &[&str] = &[
    "crates/base/src/arena.rs",
    "crates/base/src/mapping.rs",
    "crates/interp/src/product.rs",
    "crates/cpu/src/",
    "crates/cuda/src/driver/",
    "crates/capi/src/",
    "crates/plugin/src/abi",
    "crates/testkit/src/allocator",
];

/// Marks of unfinished work. Written in two parts so that this file does not find itself.
const MARKS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimpl", "emented!(")];

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let mut find = |problem: String| findings.push(Finding::new(source.path.clone(), problem));
        if !source.text.trim_start().starts_with("//!") {
            find("the file has no head comment (//!) that says what it is for".to_owned());
        }
        let lines = source.text.lines().count();
        if lines > MAX_LINES && !LONGER.iter().any(|(path, _)| *path == source.path) {
            find(format!("{lines} lines; more than {MAX_LINES} need a reason in xtask/src/tidy/files.rs"));
        }
        let lifts = source.text.contains(concat!("allow(unsafe", "_code"));
        if lifts && !UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home)) {
            find("unsafe code has no home here".to_owned());
        }
        for mark in MARKS.iter().filter(|mark| source.text.contains(**mark)) {
            find(format!("unfinished: {mark}"));
        }
        let back_end = ["crates/cpu/", "crates/cuda/"].iter().any(|b| source.path.starts_with(b));
        if back_end && [".reference(", "ReferenceEvaluator"].iter().any(|call| source.text.contains(call)) {
            find("a back end never calls the reference".to_owned());
        }
    }
    for (path, _) in LONGER.iter().filter(|(path, _)| !sources.iter().any(|s| s.path == *path)) {
        findings.push(Finding::new("xtask/src/tidy/files.rs", format!("{path} does not exist")));
    }
    findings
}
