//! The same model gives the same plan, and the plan the same bits wherever it is opened.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use sinter_base::Value;
use sinter_builder::{BuildOptions, build};
use sinter_conformance::engine::{built, lean_program};
use sinter_cpu::Cpu;
use sinter_lean::client::LeanProgram;
use sinter_plan::{Plan, Trust, from_bytes, to_bytes};
use sinter_runtime::Engine;

use crate::models::{network_of, onnx_models, tensors};

/// A verified plan: verification keeps all kernels, so that it is the unverified plan with self-test vectors and another
/// report.
fn verified(folder: &Path) -> Result<Plan, String> {
    let network = network_of(folder)?;
    let options = BuildOptions { threads: 2, ..BuildOptions::default() };
    let verified = build(&network, &Cpu, options).map_err(|e| e.to_string())?;
    if let Some(reason) = verified.verification.skipped {
        return Err(format!("not verified: {reason}"));
    }
    if let Some(dropped) = verified.verification.dropped.first() {
        return Err(format!("dropped: {}: {}: {}", dropped.name, dropped.origin, dropped.reason));
    }
    let plan = verified.plan;
    let bare = |plan: Plan| to_bytes(&Plan { self_test: None, report: None, ..plan });
    if bare(plan.clone()) == bare(built(&network)?) { Ok(plan) } else { Err("two builds give two plans".to_owned()) }
}

/// The plan, opened by a separate program in a separate folder, agrees with its self-test vectors, if any.
fn check_self_test(lean: &Path, bytes: &[u8], is_sealed: bool) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let plan = folder.path().join("elsewhere.plan");
    std::fs::write(&plan, bytes).map_err(|e| e.to_string())?;
    let ran = Command::new(lean).arg(&plan).current_dir(folder.path()).output().map_err(|e| e.to_string())?;
    if ran.status.success() == is_sealed {
        Ok(())
    } else {
        Err(format!("self-test: {}", String::from_utf8_lossy(&ran.stderr)))
    }
}

#[test]
fn plans_and_results_are_the_same_everywhere() {
    let Some(folder) = crate::shared("models") else { return };
    let program = lean_program().expect("the lean program");
    let mut lean = LeanProgram::start(&program, None).expect("the lean program");
    let mut self_test = 0;
    for (name, path) in onnx_models(&folder) {
        let check = |lean: &mut LeanProgram| -> Result<bool, String> {
            let given: Vec<(String, Value)> = tensors(&path.join("inputs_0.npz"))?
                .into_iter()
                .map(|(input, tensor)| (input, Value::Tensor(tensor)))
                .collect();
            let plan = verified(&path)?;
            let bytes = to_bytes(&plan);
            check_self_test(&program, &bytes, plan.self_test.is_some())?;
            let bytes = Bytes::from(bytes);
            let here = from_bytes(bytes.clone(), Trust::Nothing).map_err(|e| e.to_string())?;
            let here = Engine::from_plan(here, &[&Cpu], 1).map_err(|e| e.to_string())?;
            let here = here.run(given.clone()).map_err(|e| e.to_string())?;
            let there = lean.run(bytes, 2, given)?;
            if here == there {
                Ok(plan.self_test.is_some())
            } else {
                Err("two threads give other bits than one".to_owned())
            }
        };
        let start = Instant::now();
        self_test += usize::from(check(&mut lean).unwrap_or_else(|reason| panic!("{name}: {reason}")));
        println!("{name}: {:.2} s", start.elapsed().as_secs_f64());
    }
    println!("{self_test} plans passed their self-test elsewhere");
    assert!(self_test > 20, "most models have inputs that are small enough to travel with the plan");
}
