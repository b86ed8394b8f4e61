//! The ONNX backend test data. `ignored.txt` lists what is not expected to pass, each with a reason.

use std::path::Path;

use sinter_backend::BackEnd;
use sinter_conformance::suite::{Form, Machine, Report, Selection, run_suite};
use sinter_conformance::{SUITES, TIERS};
use sinter_cpu::Cpu;

/// One variant of so many runs in every test; `cargo xtask conformance --full` runs all.
const ONE_VARIANT_OF: usize = 10;

/// Runs a suite and returns how many cases passed.
fn run(data: &Path, suite: &str, machine: &mut Machine, form: Form, one_of: usize) -> usize {
    let selection = Selection { one_of, seed: 2, ..Selection::default() };
    let report = run_suite(data, suite, machine, form, &selection).expect("the suite's folder");
    let wrong: Vec<String> = report.failed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert!(wrong.is_empty(), "{suite} {}, {} cases:\n{}", form.name(), wrong.len(), wrong.join("\n"));
    check_served(&report, machine);
    let skipped: usize = report.skipped.values().sum();
    println!(
        "{suite} {}: {} passed, {} ignored, {skipped} without this form",
        form.name(),
        report.passed,
        report.ignored
    );
    report.passed
}

/// Which kernels served each case is on record; all are in the back end's tables, where the reference is not.
fn check_served(report: &Report, machine: &Machine) {
    assert_eq!(report.served.len(), report.passed);
    for (case, name) in report.served.iter().flat_map(|(case, names)| names.iter().map(move |name| (case, name))) {
        assert!(Cpu.tactic(name).is_some(), "{case} is served by {name}");
    }
    let with_kernels = report.served.values().filter(|names| !names.is_empty()).count();
    // A few networks are constant, or hand their inputs on.
    let wanted = if machine.has_kernels() { report.passed * 9 / 10 } else { 0 };
    assert!(with_kernels >= wanted, "only {with_kernels} of {} cases ran any kernel", report.passed);
}

#[test]
fn node_tests() {
    let Some(data) = crate::onnx_data() else { return };
    let passed = run(&data, "node", &mut Machine::Judge, Form::Plain, 1);
    assert!(passed >= 1600, "only {passed} node tests passed");
}

#[test]
fn all_suites_by_fast_judge() {
    let Some(data) = crate::onnx_data() else { return };
    for suite in SUITES {
        run(&data, suite, &mut Machine::FastJudge, Form::Plain, 1);
    }
}

/// The plan's bytes run in a program that links nothing that could make a plan.
#[test]
fn all_suites_by_lean_program_on_every_tier() {
    let Some(data) = crate::onnx_data() else { return };
    for tier in TIERS {
        let mut machine = Machine::lean(Some(tier)).expect("the lean program");
        println!("tier {tier}");
        for suite in SUITES {
            let passed = run(&data, suite, &mut machine, Form::Plain, 1);
            assert!(*suite != "node" || passed >= 1600, "only {passed} node tests passed on {tier}");
        }
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
