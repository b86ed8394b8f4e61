//! A network through the whole path: built for the CPU, written, read back, run.

use std::collections::HashMap;

use sinter_base::Value;
use sinter_builder::{BuildOptions, build};
use sinter_cpu::Cpu;
use sinter_ir::Network;
use sinter_plan::{Trust, from_bytes, to_bytes};
use sinter_runtime::Engine;

/// Builds, saves to bytes, opens and runs; the outputs in order.
///
/// # Errors
/// The first thing that fails, in words.
pub fn run_built(network: &Network, inputs: &HashMap<String, Value>) -> Result<Vec<Value>, String> {
    let plan = build(network, &Cpu, &BuildOptions { threads: 2 }).map_err(|e| e.to_string())?;
    let plan = from_bytes(to_bytes(&plan).into(), Trust::Nothing).map_err(|e| e.to_string())?;
    let engine = Engine::from_plan(plan, &[&Cpu], 2).map_err(|e| e.to_string())?;
    let inputs = inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    engine.run(inputs).map_err(|e| e.to_string())
}
