//! Compiles the metadata's wire layout to Rust types.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/plan.proto");
    let descriptors = protox::compile(["proto/plan.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    prost_build::Config::new().out_dir(out).compile_fds(descriptors)?;
    Ok(())
}
