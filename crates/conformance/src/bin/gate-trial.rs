//! Builds networks with verification and prints its results, one per line, fields separated by tabs.
//!
//! `gate-trial [--keep FOLDER | --expect FOLDER] NETWORK ...`; a network is one of `sinter_conformance::odd_networks`,
//! or a file. `--keep` runs each unverified plan and stores its outputs; `--expect` counts the elements that differ
//! from those, bit by bit. A plan whose outputs disagree counts as dropped. Lines: `dropped`, `unverified`, `passes`,
//! `skipped`, `error`, `panic`, `agreed`, `tactics`, `differs`; the second field is the network. Used by
//! `cargo xtask faults`.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::Parser;
use sinter_base::Value;
use sinter_builder::error::Unsupported;
use sinter_builder::{BuildError, BuildOptions, Unverified, Verify, build};
use sinter_conformance::odd_networks::networks;
use sinter_cpu::Cpu;
use sinter_import_onnx::{ImportOptions, import_file};
use sinter_interp::inputs::{FreeSizes, generate};
use sinter_ir::Network;
use sinter_runtime::Engine;

/// Threads of all builds.
const THREADS: usize = 2;
/// Sizes of dynamic dimensions, tried until a plan runs.
const FREE_SIZES: [i64; 4] = [3, 1, 16, 64];

/// Builds networks with verification and prints its results.
#[derive(Parser)]
struct Arguments {
    /// Keeps the outputs of the plans in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Compares the outputs of the plans with those kept in this folder.
    #[arg(long)]
    expect: Option<PathBuf>,
    /// Odd networks by name, or files; all odd networks when none is given.
    networks: Vec<String>,
}

fn line(fields: &[&str]) {
    let clean: Vec<String> = fields.iter().map(|field| field.replace(['\n', '\t'], " ")).collect();
    println!("{}", clean.join("\t"));
}

fn network_of(name: &str, odd: &[Network]) -> Result<Network, String> {
    if let Some(network) = odd.iter().find(|network| network.name == name) {
        return Ok(network.clone());
    }
    import_file(Path::new(name), &ImportOptions::default()).map_err(|e| e.to_string())
}

/// Unsupported operators; the refusals name the kernels that verification dropped.
fn unsupported(name: &str, nodes: &[Unsupported]) {
    let mut dropped = nodes.iter().flat_map(|node| node.refusals.iter().map(move |refusal| (node, refusal)));
    match dropped.find(|(_, (_, reason))| reason.contains("does not agree with the reference")) {
        Some((node, (tactic, reason))) => line(&["dropped", name, tactic, &node.location.to_string(), reason]),
        None => line(&["error", name, &BuildError::Unsupported(nodes.to_vec()).to_string()]),
    }
}

fn gate(name: &str, network: &Network) {
    let built = match build(network, &Cpu, BuildOptions { threads: THREADS, ..BuildOptions::default() }) {
        Ok(built) => {
            line(&["tactics", name, &built.plan.tactics().into_iter().collect::<Vec<_>>().join(" ")]);
            built.verification
        }
        Err(BuildError::Disagrees { reason }) => return line(&["dropped", name, "whole plan", "", &reason]),
        Err(BuildError::Unsupported(nodes)) => return unsupported(name, &nodes),
        Err(error) => return line(&["error", name, &error.to_string()]),
    };
    for dropped in &built.dropped {
        line(&["dropped", name, &dropped.name, &dropped.origin, &dropped.reason]);
    }
    for Unverified { origin, reason } in &built.unverified {
        line(&["unverified", name, origin, reason]);
    }
    if let Some(reason) = &built.unverified_passes {
        line(&["passes", name, reason]);
    }
    if let Some(reason) = &built.skipped {
        line(&["skipped", name, reason]);
    }
    line(&["agreed", name, &built.agreed.to_string()]);
}

/// The outputs of the unverified plan, with all kernels.
fn outputs(network: &Network) -> Result<Vec<Value>, String> {
    let options = BuildOptions { threads: THREADS, verify: Verify::Off, ..BuildOptions::default() };
    let plan = build(network, &Cpu, options).map_err(|e| e.to_string())?.plan;
    let engine = Engine::from_plan(plan, &[&Cpu], THREADS).map_err(|e| e.to_string())?;
    let mut first = None;
    for free in FREE_SIZES {
        let run = generate(network, FreeSizes::all(free))
            .and_then(|inputs| engine.run(inputs.into_iter().collect()).map_err(|e| e.to_string()));
        match run {
            Ok(outputs) => return Ok(outputs),
            Err(reason) => {
                first.get_or_insert(reason);
            }
        }
    }
    Err(first.unwrap_or_default())
}

/// Elements as bits, so that NaN equals itself.
fn bits(value: &Value) -> Vec<u8> {
    value.as_tensor().map(|t| t.to_floats().into_iter().flat_map(f64::to_le_bytes).collect()).unwrap_or_default()
}

fn compare_outputs(name: &str, network: &Network, arguments: &Arguments) -> Result<(), String> {
    let Some(folder) = arguments.keep.as_ref().or(arguments.expect.as_ref()) else { return Ok(()) };
    for (index, output) in outputs(network)?.iter().enumerate() {
        let file = folder.join(format!("{}.{index}", name.replace('/', "_")));
        let found = bits(output);
        if arguments.keep.is_some() {
            std::fs::write(&file, &found).map_err(|e| format!("{}: {e}", file.display()))?;
            continue;
        }
        let kept = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let differing = found.chunks(8).zip(kept.chunks(8)).filter(|(a, b)| a != b).count();
        let differing = differing + found.len().abs_diff(kept.len()) / 8;
        line(&["differs", name, &differing.to_string(), &(kept.len() / 8).to_string()]);
    }
    Ok(())
}

fn main() {
    let arguments = Arguments::parse();
    let odd = networks();
    let all = || odd.iter().map(|network| network.name.clone()).collect();
    let names: Vec<String> = if arguments.networks.is_empty() { all() } else { arguments.networks.clone() };
    for name in &names {
        let network = match network_of(name, &odd) {
            Ok(network) => network,
            Err(reason) => {
                line(&["error", name, &reason]);
                continue;
            }
        };
        if catch_unwind(AssertUnwindSafe(|| gate(name, &network))).is_err() {
            line(&["panic", name]);
        }
        match catch_unwind(AssertUnwindSafe(|| compare_outputs(name, &network, &arguments))) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => line(&["run", name, &reason]),
            Err(_) => line(&["run", name, "it panicked"]),
        }
    }
}
