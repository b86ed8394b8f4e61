//! A network through the whole path: built for the CPU, written to bytes, read back and run, here or in the lean
//! program.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use sinter_backend::BackEnd;
use sinter_base::Value;
use sinter_builder::{BuildOptions, Verify, build};
use sinter_cpu::Cpu;
use sinter_cuda::Cuda;
use sinter_ir::Network;
use sinter_lean::client::LeanProgram;
use sinter_plan::{Plan, Trust, from_bytes, to_bytes};
use sinter_runtime::Engine;

/// Threads of all engines here.
pub(crate) const THREADS: usize = 2;

/// Builds a plan for the CPU.
///
/// # Errors
/// Why there is none, in words.
pub fn built(network: &Network) -> Result<Plan, String> {
    // The cases are the judge here.
    let options = BuildOptions { threads: THREADS, verify: Verify::Off, ..BuildOptions::default() };
    build(network, &Cpu, options).map(|built| built.plan).map_err(|e| e.to_string())
}

/// Builds a plan for the first NVIDIA GPU; what has no kernel there runs on the processor.
///
/// # Errors
/// Why there is none, in words.
pub fn built_for_the_gpu(network: &Network) -> Result<Plan, String> {
    let options = BuildOptions { threads: THREADS, verify: Verify::Off, island: Some(&Cpu), ..BuildOptions::default() };
    build(network, &Cuda::FIRST, options).map(|built| built.plan).map_err(|e| e.to_string())
}

/// Checks that a kernel of the back end computes every step: the reference is none, and is in no tactic table.
///
/// # Errors
/// The step that is not.
pub fn check_kernels(plan: &Plan) -> Result<(), String> {
    match plan.tactics().into_iter().find(|name| !name.starts_with("cpu.") || Cpu.tactic(name).is_none()) {
        Some(name) => Err(format!("a step uses '{name}', which is no kernel of the back end")),
        None => Ok(()),
    }
}

/// Builds a plan for the CPU; a kernel of the back end computes every step.
///
/// # Errors
/// The error of the build, or the first step without a kernel, as text.
pub fn checked(network: &Network) -> Result<Plan, String> {
    let plan = built(network)?;
    check_kernels(&plan)?;
    Ok(plan)
}

/// Saves a plan to bytes, opens them and runs; the outputs in order.
///
/// # Errors
/// The first failure, as text.
pub fn run_here(plan: &Plan, inputs: &HashMap<String, Value>) -> Result<Vec<Value>, String> {
    let plan = from_bytes(to_bytes(plan).into(), Trust::Nothing).map_err(|e| e.to_string())?;
    let engine = Engine::from_plan(plan, &[&Cuda::FIRST, &Cpu], THREADS).map_err(|e| e.to_string())?;
    engine.run(named(inputs)).map_err(|e| e.to_string())
}

fn named(inputs: &HashMap<String, Value>) -> Vec<(String, Value)> {
    inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The lean program: the file that `SINTER_LEAN` names, else compiled beside the running program. Compiled by itself it
/// has fewer features than in the workspace, so cargo compiles its dependencies once more.
///
/// # Errors
/// When it cannot be compiled.
pub fn lean_program() -> Result<PathBuf, String> {
    if let Some(program) = std::env::var_os("SINTER_LEAN") {
        return Ok(program.into());
    }
    let here = std::env::current_exe().map_err(|e| e.to_string())?;
    // Test programs lie in `deps`, one folder below programs.
    let folder = here.ancestors().skip(1).find(|f| !f.ends_with("deps")).unwrap_or(Path::new("."));
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--package", "sinter-lean"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(folder.join(format!("sinter-lean{}", std::env::consts::EXE_SUFFIX))),
        Ok(status) => Err(format!("building the lean program ended with {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// Saves a plan to bytes and runs it in the lean program, which gets only those bytes.
///
/// # Errors
/// The first failure, as text.
pub fn run_lean(lean: &mut LeanProgram, plan: &Plan, inputs: &HashMap<String, Value>) -> Result<Vec<Value>, String> {
    lean.run(Bytes::from(to_bytes(plan)), THREADS, named(inputs))
}
