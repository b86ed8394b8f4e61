//! Builds with verification drop no correct kernel: every odd network. (`onnx_data`, `models` and `random_networks`
//! check the same for their builds.)

use sinter_builder::{BuildOptions, build};
use sinter_conformance::odd_networks;
use sinter_cpu::Cpu;
use sinter_ir::Network;

/// The report of a build with verification that differs from one without.
fn alarm(network: &Network) -> Option<String> {
    // A network without kernels has none without verification either.
    sinter_conformance::engine::built(network).ok()?;
    match build(network, &Cpu, BuildOptions { threads: 2, ..BuildOptions::default() }) {
        Ok(built) => built.verification.dropped.first().map(|d| format!("{}: {}: {}", d.name, d.origin, d.reason)),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn nothing_is_dropped_from_odd_networks() {
    for network in odd_networks::networks() {
        assert_eq!(alarm(&network), None, "{}", network.name);
    }
}
