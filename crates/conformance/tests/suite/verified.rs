//! Builds with verification drop nothing that is right: every ONNX test case, and every odd network.

use sinter_builder::{BuildOptions, build};
use sinter_conformance::odd_networks;
use sinter_conformance::onnx_cases::Case;
use sinter_cpu::Cpu;
use sinter_ir::Network;

use crate::hostile_plans::folders;

/// What a build with verification says that one without does not.
fn alarm(network: &Network) -> Option<String> {
    // What has no kernels has none without verification either.
    sinter_conformance::engine::built(network).ok()?;
    match build(network, &Cpu, BuildOptions { threads: 2, ..BuildOptions::default() }) {
        Ok(built) => built.verification.dropped.first().map(|d| format!("{}: {}: {}", d.name, d.origin, d.reason)),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn nothing_is_dropped_from_onnx_cases() {
    let Some(folders) = folders() else { return };
    let mut alarms = Vec::new();
    let mut built = 0;
    for folder in &folders {
        let Ok(case) = Case::load(folder) else { continue };
        built += 1;
        alarms.extend(alarm(&case.network).map(|alarm| format!("{}: {alarm}", folder.display())));
    }
    assert!(built > 1000, "only {built} cases");
    assert!(alarms.is_empty(), "{} of {built}:\n{}", alarms.len(), alarms.join("\n"));
}

#[test]
fn nothing_is_dropped_from_odd_networks() {
    for network in odd_networks::networks() {
        assert_eq!(alarm(&network), None, "{}", network.name);
    }
}
