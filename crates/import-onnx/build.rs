//! Compiles the ONNX wire layout to Rust types and keeps its descriptor for the text format.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/onnx.proto");
    let descriptors = protox::compile(["proto/onnx.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("onnx.descriptors"), descriptors.encode_to_vec())?;
    // Byte fields share the mapped file: weights are never copied while decoding.
    prost_build::Config::new().bytes(["."]).out_dir(out).compile_fds(descriptors)?;
    Ok(())
}
