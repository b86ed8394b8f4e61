//! The conformance suite, one binary: operator examples, ONNX test data, real models, hostile files.
#![allow(clippy::print_stdout, reason = "tests print their figures")]

mod choice;
mod confused_plans;
mod confusion;
mod contexts;
mod control_flow;
mod corpus;
mod cover;
mod covers;
mod devices;
mod elsewhere;
mod examples;
mod faults;
mod fused_kernels;
mod golden;
mod hostile;
mod hostile_plans;
mod islands;
mod kernels;
mod large_kernels;
mod metrics;
mod microsoft;
mod models;
mod onnx_data;
mod parity;
mod parts;
mod precision;
mod profiles;
mod quantized_regions;
mod random_networks;
mod refit;
mod reproducible;
mod seeds;
mod spatial;
mod split_regions;
mod steady;
mod tapped;
mod told_sizes;
mod unseen_shapes;
mod verified;

use std::path::PathBuf;

use sinter_testkit::allocator::Counting;

/// Lets tests prove that something allocates nothing.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A folder that a test needs: from the environment, else a default. `None` skips the test with a printed reason, which
/// under `CI=true` is a failure.
fn needed_folder(variable: &str, default: Option<&str>, what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from).or_else(|| default.map(PathBuf::from));
    match folder {
        Some(folder) if folder.is_dir() => Some(folder),
        _ => {
            let reason = format!("skipped: {what} is not there; set {variable}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
            eprintln!("{reason}");
            None
        }
    }
}

/// The ONNX package's test data; `cargo xtask test` provides it.
fn onnx_data() -> Option<PathBuf> {
    needed_folder("SINTER_ONNX_DATA", None, "the ONNX package's test data")
}

/// Shared models and graphs, beside the checkout.
fn shared(part: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    needed_folder("SINTER_SHARED", Some(default), "the folder of shared models").map(|folder| folder.join(part))
}
