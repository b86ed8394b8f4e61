//! ONNX Runtime's own operators against what ONNX Runtime computed; `scripts/microsoft_cases.py` made the cases.

use std::collections::BTreeSet;
use std::path::Path;

use sinter_conformance::TIERS;
use sinter_conformance::onnx_cases::{Case, cases};
use sinter_conformance::suite::{Form, Machine, Selection, run_suite};
use sinter_import_onnx::table;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");

fn run(machine: &mut Machine, form: Form) {
    let report = run_suite(Path::new(FOLDER), "microsoft", machine, form, &Selection::default()).expect("the cases");
    let wrong: Vec<String> = report.failed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), wrong.len() + report.passed, wrong.join("\n"));
    assert!(report.passed >= 50, "only {} cases", report.passed);
}

#[test]
fn by_both_judges() {
    run(&mut Machine::Judge, Form::Plain);
    run(&mut Machine::FastJudge, Form::Plain);
}

#[test]
fn by_lean_program_on_every_tier() {
    for tier in TIERS {
        run(&mut Machine::lean(Some(tier)).expect("the lean program"), Form::Plain);
    }
}

#[test]
fn with_sizes_that_the_model_leaves_open() {
    run(&mut Machine::lean(None).expect("the lean program"), Form::Symbolic);
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
