//! The ONNX backend test data. `ignored.txt` lists cases that are not expected to pass, each with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sinter_backend::BackEnd;
use sinter_conformance::SUITES;
use sinter_conformance::every_case::{Summary, run_every_case};
use sinter_conformance::suite::{Form, Machine, Selection, run_suite};
use sinter_cpu::Cpu;

/// One variant of so many runs in every test; `cargo xtask conformance --full` runs all.
const ONE_VARIANT_OF: usize = 10;

/// Runs a suite and returns how many cases passed.
fn run(data: &Path, suite: &str, machine: &mut Machine, form: Form, one_of: usize) -> usize {
    let selection = Selection { one_of, seed: 2, ..Selection::default() };
    let report = run_suite(data, suite, machine, form, &selection).expect("the suite's folder");
    let wrong: Vec<String> = report.failed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert!(wrong.is_empty(), "{suite} {}, {} cases:\n{}", form.name(), wrong.len(), wrong.join("\n"));
    assert_eq!(report.tactics.len(), report.passed);
    check_tactics(&report.tactics, report.passed, machine.has_kernels());
    let skipped: usize = report.skipped.values().sum();
    println!(
        "{suite} {}: {} passed, {} ignored, {skipped} without this form",
        form.name(),
        report.passed,
        report.ignored
    );
    report.passed
}

/// Checks the recorded kernels of each case: all are in the back end's tables, where the reference is not.
fn check_tactics(tactics: &BTreeMap<String, BTreeSet<String>>, passed: usize, has_kernels: bool) {
    for (case, name) in tactics.iter().flat_map(|(case, names)| names.iter().map(move |name| (case, name))) {
        assert!(Cpu.tactic(name).is_some(), "{case} ran {name}");
    }
    let with_kernels = tactics.values().filter(|names| !names.is_empty()).count();
    // A few networks are constant, or return their inputs.
    let required = if has_kernels { passed * 9 / 10 } else { 0 };
    assert!(with_kernels >= required, "only {with_kernels} of {passed} cases ran any kernel");
}

/// By both evaluators of the reference executor, and by one plan in a program that links no code that could make a
/// plan, on every tier; built with verification, every case keeps its kernels.
#[test]
fn every_case_in_every_way() {
    let Some(data) = crate::onnx_data() else { return };
    for suite in SUITES {
        let summary = run_every_case(&data, suite).expect("the suite");
        let wrong: Vec<String> = summary.failed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        assert!(wrong.is_empty(), "{suite}, {} of {}:\n{}", wrong.len(), summary.passed, wrong.join("\n"));
        check_tactics(&summary.tactics, summary.passed, true);
        let Summary { passed, ignored, other_plans, .. } = summary;
        println!("{suite}: {passed} passed, {ignored} ignored; {other_plans} plans differ after verification");
        assert!(*suite != "node" || passed >= 1600, "only {passed} node tests passed");
    }
}

#[test]
fn a_tenth_of_the_variants_by_lean_program() {
    let Some(data) = crate::onnx_data() else { return };
    let mut machine = Machine::lean(None).expect("the lean program");
    for form in [Form::Symbolic, Form::Embedded(1)] {
        let passed = run(&data, "node", &mut machine, form, ONE_VARIANT_OF);
        assert!(passed >= 50, "only {passed} {} variants passed", form.name());
    }
}

#[test]
fn the_page_of_operators_is_up_to_date() {
    let Some(data) = crate::onnx_data() else { return };
    let page = sinter_conformance::operator_table::page(&data).expect("the test data");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == stored, "docs/operators.md is not what `cargo xtask docs` makes");
}

/// Full topologies with constant weights; one output each, inputs are ones unless the data says otherwise.
#[test]
fn light_networks() {
    let Some(data) = crate::onnx_data() else { return };
    let failures = sinter_conformance::light::run_all(&data.join("light"));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
