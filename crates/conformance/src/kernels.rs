//! One kernel of a back end on one problem, as the runtime would launch it: in a queue's memory, with poisoned results.

use sinter_backend::{Candidate, Device, KernelError, Loaded, Problem, Refusal, Region, Sizing, Tactic, Target};
use sinter_base::{Value, ValueType};
use sinter_builder::harness::{launch_once, packed_operands};
use sinter_cuda::Cuda;
use sinter_ops::{InferContext, Op, Operands, infer};

/// The back end of NVIDIA GPUs where this machine has one; else the printed reason why a test is skipped.
pub fn gpu() -> Option<Cuda> {
    match sinter_cuda::driver::context::device_count() {
        Ok(_) => Some(Cuda::FIRST),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// The region of an operator on these values: all sizes concrete.
///
/// # Errors
/// When the operator does not take the values.
pub fn region_of(op: &Op, values: &[Option<Value>]) -> Result<Region, String> {
    let types: Vec<Option<ValueType>> = values.iter().map(|v| v.as_ref().map(Value::value_type)).collect();
    let borrowed: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let outputs = infer(op, &Operands::new(&borrowed), &mut InferContext::default()).map_err(|e| e.to_string())?;
    Ok(Region::single(op.clone(), &types, outputs))
}

/// Loads the first candidate of a tactic and runs it.
///
/// # Errors
/// The refusal or the kernel's own error.
///
/// # Panics
/// When the kernel does.
pub fn run_kernel(
    device: &dyn Device,
    tactic: &dyn Tactic,
    region: &Region,
    values: &[Option<Value>],
) -> Result<Vec<Value>, String> {
    let candidates = offers(tactic, region, device.target()).map_err(|refusal| refusal.to_string())?;
    let candidate = candidates.first().ok_or("an offer without candidates")?;
    run_candidate(device, tactic, candidate, region, values)
}

/// Every candidate of a tactic for a region, at typical sizes.
///
/// # Errors
/// Why there is none.
pub fn offers(tactic: &dyn Tactic, region: &Region, target: &Target) -> Result<Vec<Candidate>, Refusal> {
    tactic.offer(&Problem { region, target, sizing: &Sizing::default() }, usize::MAX)
}

/// Loads a candidate and runs it.
///
/// # Errors
/// The kernel's own error.
///
/// # Panics
/// When the kernel does.
pub fn run_candidate(
    device: &dyn Device,
    tactic: &dyn Tactic,
    candidate: &Candidate,
    region: &Region,
    values: &[Option<Value>],
) -> Result<Vec<Value>, String> {
    let code = tactic.compile(&candidate.recipe, region, device.target()).map_err(|e| e.to_string())?;
    match device.load(&candidate.recipe, region, code.as_ref()).map_err(|e| e.to_string())? {
        Loaded::Values(kernel) => kernel.run(values).map_err(|e| e.to_string()),
        Loaded::Kernel(kernel) => {
            let workspace = candidate.workspace.as_constant().and_then(|b| usize::try_from(b).ok()).unwrap_or(0);
            let operands = packed_operands(tactic, candidate, region, values).map_err(|e| e.to_string())?;
            let results = region.body().output_types();
            launch_once(device, kernel, &results, &operands, workspace).map_err(|error| match error {
                KernelError::Panic { .. } => panic!("{error}"),
                error => error.to_string(),
            })
        }
    }
}
