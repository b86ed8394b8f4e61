//! Plans for a device that is elsewhere: built where there is none, run and verified where it is.

use std::sync::Arc;

use sinter_backend::{BackEnd, Device, KernelError, Tactic, Target, elsewhere};
use sinter_builder::{BuildError, BuildOptions, Tuning, build};
use sinter_conformance::odd_networks;
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_plan::{Plan, Trust, from_bytes, to_bytes};
use sinter_runtime::Engine;

/// The fake device, but nowhere near.
struct Far(Fake);

impl BackEnd for Far {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn target(&self, threads: usize) -> Target {
        self.0.target(threads)
    }

    fn tactics(&self) -> Vec<&dyn Tactic> {
        self.0.tactics()
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Ok(elsewhere(self.target(threads)))
    }
}

/// The bytes of a plan without what verification adds.
fn without_verification(plan: &Plan) -> Vec<u8> {
    to_bytes(&Plan { report: None, self_test: None, ..plan.clone() })
}

#[test]
fn a_plan_made_elsewhere_is_that_of_the_device_and_verifies_itself_there() {
    let (far, near) = (Far(Fake::default()), Fake::default());
    let (mut verified, mut networks) = (0, 0);
    for network in odd_networks::networks() {
        let options = || BuildOptions { island: Some(&Cpu), ..BuildOptions::default() };
        let made = build(&network, &far, options()).unwrap_or_else(|error| panic!("'{}': {error}", network.name));
        let reason = made.verification.skipped.expect("nothing runs here");
        assert!(reason.contains("elsewhere") || made.plan.self_test.is_none(), "'{}': {reason}", network.name);
        let known = build(&network, &near, options()).expect("a plan");
        assert!(without_verification(&made.plan) == without_verification(&known.plan), "'{}'", network.name);
        let plan = from_bytes(to_bytes(&made.plan).into(), Trust::Nothing).expect("a plan that reads back");
        networks += 1;
        if plan.self_test.is_some() {
            let engine = Engine::from_plan(plan, &[&near, &Cpu], 2).expect("an engine");
            verified += engine.self_test().unwrap_or_else(|error| panic!("'{}': {error}", network.name));
        }
    }
    assert_eq!((far.0.loads(), far.0.account().used()), (0, 0));
    assert!(verified * 2 > networks, "{verified} of {networks} verify themselves");
}

#[test]
fn kernels_of_a_device_elsewhere_are_not_timed() {
    let network = odd_networks::networks().swap_remove(0);
    let tuning = Some(Tuning { budget: Some(std::time::Duration::from_secs(1)), ..Tuning::default() });
    match build(&network, &Far(Fake::default()), BuildOptions { tuning, ..BuildOptions::default() }) {
        Err(BuildError::Untimeable { target }) => assert!(target.contains("fake"), "{target}"),
        other => panic!("{:?}", other.map(|built| built.plan.graph)),
    }
}
