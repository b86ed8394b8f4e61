//! `--inputs`, `--seed`.

use std::path::PathBuf;

use clap::Args;

use crate::files::Files;

/// Values of the inputs.
#[derive(Args, Clone, Debug, Default)]
pub struct InputFlags {
    /// Values of the inputs: an .npz file by name, or a folder of input_0.pb, input_1.pb, ...
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,

    /// Make up other floats than without it; the same number makes the same values
    #[arg(long, value_name = "N", conflicts_with = "inputs")]
    pub seed: Option<u32>,
}

impl InputFlags {
    /// Takes in the file of the values.
    pub fn name_files<'a>(&'a self, files: &mut Files<'a>) {
        files.reads("the inputs", self.inputs.as_deref());
    }
}
