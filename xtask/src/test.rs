//! `cargo xtask test`.

use std::process::Command;

use crate::command::{self, is_ci, root};
use crate::python::onnx_data;

/// Runs every test of the workspace, with the ONNX test data where Python can provide it.
pub(crate) fn run() -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["test", "--workspace"]);
    match onnx_data() {
        Ok(data) => {
            cargo.env("SINTER_ONNX_DATA", data);
        }
        Err(reason) if is_ci() => return Err(reason),
        Err(reason) => {
            println!("no ONNX test data ({reason}); everything else runs");
            println!("to have it, install Python 3 with its venv module and run this again");
        }
    }
    command::run(&mut cargo)
}
