//! Files: a head comment, a bounded size, unsafe code only in listed places, no unfinished marks.

use crate::tidy::{BACK_ENDS, Finding, Source};

/// Longest source file.
const MAX_LINES: usize = 800;

/// Longer files, each with a reason.
const LONGER: &[(&str, &str)] = &[];

/// Where `unsafe` may be allowed, each with a reason.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("crates/base/src/blocks.rs", "several disjoint ranges of blocks are borrowed at once"),
    ("crates/base/src/mapping.rs", "another process may change a file while it is mapped"),
    ("crates/cli/src/allocator.rs", "a global allocator is an unsafe interface"),
    (
        "crates/interp/src/product.rs",
        "the gemm crate, which computes the reference executor's products, takes pointers only",
    ),
    ("crates/cpu/src/", "kernels: vector instructions, and tasks that write disjoint parts of one result"),
    ("crates/cuda/src/driver/", "foreign functions of the CUDA driver and of its run-time compiler"),
    ("crates/testkit/src/allocator.rs", "a global allocator is an unsafe interface"),
];

/// Marks of unfinished work. Written in two parts so that this file does not find itself.
const MARKS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimpl", "emented!(")];

/// Does a file allow itself unsafe code?
fn lifts(source: &Source) -> bool {
    source.text.contains(concat!("allow(unsafe", "_code"))
}

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
        if lifts(source) && !UNSAFE_FILES.iter().any(|(place, _)| source.path.starts_with(place)) {
            find("this file may not contain unsafe code".to_owned());
        }
        for mark in MARKS.iter().filter(|mark| source.text.contains(**mark)) {
            find(format!("unfinished: {mark}"));
        }
        let back_end = BACK_ENDS.iter().any(|folder| source.path.starts_with(folder));
        if back_end && [".reference(", "ReferenceEvaluator"].iter().any(|call| source.text.contains(call)) {
            find("a back end never calls the reference".to_owned());
        }
    }
    for (path, _) in LONGER.iter().filter(|(path, _)| !sources.iter().any(|s| s.path == *path)) {
        findings.push(Finding::new("xtask/src/tidy/files.rs", format!("{path} does not exist")));
    }
    for (place, _) in UNSAFE_FILES {
        if !sources.iter().any(|s| s.path.starts_with(place) && lifts(s)) {
            findings.push(Finding::new("xtask/src/tidy/files.rs", format!("{place} has no unsafe code")));
        }
    }
    findings
}
