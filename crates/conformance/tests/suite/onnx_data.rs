//! The ONNX backend test data through the judge. `ignored.txt` lists what is not expected to pass, each with a reason.

use std::collections::BTreeMap;
use std::path::Path;

use sinter_conformance::engine::run_built;
use sinter_conformance::onnx_cases::{Failure, cases, run_case};
use sinter_interp::{FastEvaluator, Tolerance, run, run_with};

/// Case -> reason.
fn ignored() -> BTreeMap<&'static str, &'static str> {
    include_str!("../../ignored.txt")
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(": ").expect("each ignored case has a reason after a colon"))
        .collect()
}

/// Runs a suite and returns how many cases passed.
fn run_suite(data: &Path, suite: &str, run_one: impl Fn(&Path) -> Result<(), Failure>) -> usize {
    let ignored = ignored();
    let (mut passed, mut wrong) = (0, Vec::new());
    for folder in cases(data, suite).expect("the suite's folder") {
        let name = format!("{suite}/{}", folder.file_name().unwrap_or_default().to_string_lossy());
        match (run_one(&folder), ignored.get(name.as_str())) {
            (Ok(()), None) => passed += 1,
            (Ok(()), Some(_)) => wrong.push(format!("{name} passes, but stands in ignored.txt")),
            (Err(failure), None) => wrong.push(format!("{name}: {failure}")),
            (Err(_), Some(_)) => {}
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    println!("{suite}: {passed} passed");
    passed
}

fn by_reference(folder: &Path) -> Result<(), Failure> {
    run_case(folder, &|network, inputs| run(network, inputs).map_err(|e| e.to_string()), tolerance_of(folder))
}

/// JPEG leaves the rounding of the inverse transform to the decoder: two decoders differ by a level or two.
fn tolerance_of(folder: &Path) -> Tolerance {
    let is_jpeg = folder.to_string_lossy().contains("image_decoder_decode_jpeg_");
    if is_jpeg { Tolerance { relative: 0.0, absolute: 2.0 } } else { Tolerance::ONNX }
}

fn by_fast_judge(folder: &Path) -> Result<(), Failure> {
    let runner = |network: &_, inputs: &_| run_with(network, inputs, &FastEvaluator).map_err(|e| e.to_string());
    run_case(folder, &runner, tolerance_of(folder))
}

#[test]
fn node_tests() {
    let Some(data) = crate::onnx_data() else { return };
    let passed = run_suite(&data, "node", by_reference);
    assert!(passed >= 1600, "only {passed} node tests passed");
}

#[test]
fn node_tests_by_fast_judge() {
    let Some(data) = crate::onnx_data() else { return };
    run_suite(&data, "node", by_fast_judge);
}

/// Operators without a CPU kernel. A case may fail in the built engine only for want of one of these.
const WITHOUT_KERNEL: &[&str] = &["TfIdfVectorizer"];

/// Does the build fail only because these operators have no kernel?
fn lacks_a_kernel(failure: &Failure) -> bool {
    let Failure::Run(reason) = failure else { return false };
    let mut nodes = reason.lines().skip(1).filter(|line| line.ends_with(')')).peekable();
    let listed = |line: &str| WITHOUT_KERNEL.iter().any(|op| line.ends_with(&format!("({op})")));
    reason.starts_with("no kernel") && nodes.peek().is_some() && nodes.all(listed)
}

#[test]
fn node_tests_by_built_engine() {
    let Some(data) = crate::onnx_data() else { return };
    let lacking = std::cell::Cell::new(0);
    let passed = run_suite(&data, "node", |folder| match run_case(folder, &run_built, tolerance_of(folder)) {
        Err(failure) if lacks_a_kernel(&failure) => {
            lacking.set(lacking.get() + 1);
            Ok(())
        }
        other => other,
    });
    println!("{} of them only for want of a kernel", lacking.get());
    assert!(passed - lacking.get() >= 1550, "{} node tests pass through the engine", passed - lacking.get());
}

#[test]
fn small_suites() {
    let Some(data) = crate::onnx_data() else { return };
    for suite in ["simple", "pytorch-converted", "pytorch-operator"] {
        run_suite(&data, suite, by_fast_judge);
    }
}

/// Full topologies with constant weights; one output each, inputs are ones unless the data says otherwise.
#[test]
fn light_networks() {
    let Some(data) = crate::onnx_data() else { return };
    let failures = sinter_conformance::light::run_all(&data.join("light"));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
