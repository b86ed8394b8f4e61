//! The ONNX backend test data. `ignored.txt` lists what is not expected to pass, each with a reason.

use std::collections::HashMap;
use std::path::Path;

use sinter_base::Value;
use sinter_conformance::engine::run_built;
use sinter_conformance::onnx_cases::{Case, Failure, cases, ignored};
use sinter_interp::{FastEvaluator, run, run_with};
use sinter_ir::Network;

/// Runs a suite and returns how many cases passed.
fn run_suite(data: &Path, suite: &str, mut run_one: impl FnMut(&Path) -> Result<(), Failure>) -> usize {
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
    Case::load(folder)?.run(&mut |network, inputs| run(network, inputs).map_err(|e| e.to_string()))
}

fn fast_judge(network: &Network, inputs: &HashMap<String, Value>) -> Result<Vec<Value>, String> {
    run_with(network, inputs, &FastEvaluator).map_err(|e| e.to_string())
}

fn by_fast_judge(folder: &Path) -> Result<(), Failure> {
    Case::load(folder)?.run(&mut fast_judge)
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

#[test]
fn node_tests_by_built_engine() {
    let Some(data) = crate::onnx_data() else { return };
    let passed = run_suite(&data, "node", |folder| Case::load(folder)?.run(&mut run_built));
    assert!(passed >= 1600, "only {passed} node tests passed through the engine");
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
