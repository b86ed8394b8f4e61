//! ONNX Runtime's own operators against what ONNX Runtime computed; `scripts/microsoft_cases.py` made the cases.

use std::collections::BTreeSet;
use std::path::Path;

use sinter_conformance::every_case::run_every_case;
use sinter_conformance::onnx_cases::{Case, cases};
use sinter_conformance::suite::{Form, Machine, Selection, run_suite};
use sinter_import_onnx::table;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");

#[test]
fn every_case_in_every_way() {
    let summary = run_every_case(Path::new(FOLDER), "microsoft").expect("the cases");
    let wrong: Vec<String> = summary.failed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert!(wrong.is_empty(), "{} beside {} that pass:\n{}", wrong.len(), summary.passed, wrong.join("\n"));
    assert!(summary.passed >= 50, "only {} cases", summary.passed);
}

#[test]
fn with_sizes_that_the_model_leaves_open() {
    let mut machine = Machine::lean(None).expect("the lean program");
    let report = run_suite(Path::new(FOLDER), "microsoft", &mut machine, Form::Symbolic, &Selection::default());
    let report = report.expect("the cases");
    let wrong: Vec<String> = report.failed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), wrong.len() + report.passed, wrong.join("\n"));
    assert!(report.passed >= 50, "only {} cases", report.passed);
}

/// The forms that ONNX defines under the same name are tested by its own cases.
#[test]
fn every_operator_has_a_case() {
    let mut tested = BTreeSet::new();
    for folder in cases(Path::new(FOLDER), "microsoft").expect("the cases") {
        let graph = Case::load(&folder).expect("a case").model.graph.expect("a graph");
        tested.extend(graph.node.iter().map(|node| node.op_type().to_owned()));
    }
    let known = table::ALL.iter().filter(|entry| entry.domain == table::MICROSOFT).map(|entry| entry.name);
    let of_onnx = |name: &str| table::ALL.iter().any(|entry| entry.domain.is_empty() && entry.name == name);
    let missing: Vec<&str> = known.filter(|name| !tested.contains(*name) && !of_onnx(name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
