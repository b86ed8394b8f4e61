//! `--inputs`.

use std::path::PathBuf;

use clap::Args;

/// Values of the inputs.
#[derive(Args, Clone, Debug, Default)]
pub struct InputFlags {
    /// Values of the inputs: an .npz file by name, or a folder of input_0.pb, input_1.pb, ...
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
}
