//! Cases of the ONNX backend test data: a folder with `model.onnx` and `test_data_set_K/{input,output}_N.pb`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sinter_base::Value;
use sinter_import_onnx::test_data::decode_value;
use sinter_import_onnx::{ImportOptions, import_file};
use sinter_interp::{Tolerance, compare};
use sinter_ir::Network;

/// Why a case does not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The model was not imported.
    #[error("import: {0}")]
    Import(String),
    /// The test data could not be read.
    #[error("test data: {0}")]
    Data(String),
    /// The run failed.
    #[error("run: {0}")]
    Run(String),
    /// A result differs from the expected one.
    #[error("output {index} of data set {set}: {reason}")]
    Result {
        /// Data set.
        set: usize,
        /// Output.
        index: usize,
        /// The difference.
        reason: String,
    },
}

/// Computes the outputs of a network for inputs in the network's order.
pub type Runner<'a> = &'a dyn Fn(&Network, &HashMap<String, Value>) -> Result<Vec<Value>, String>;

/// Runs all data sets of one case.
///
/// # Errors
/// The first failure.
pub fn run_case(folder: &Path, runner: Runner<'_>, tolerance: Tolerance) -> Result<(), Failure> {
    let network = import_file(&folder.join("model.onnx"), &ImportOptions::default())
        .map_err(|e| Failure::Import(e.to_string()))?;
    for set in 0.. {
        let data = folder.join(format!("test_data_set_{set}"));
        if !data.is_dir() {
            return if set > 0 { Ok(()) } else { Err(Failure::Data("there is no test_data_set_0".to_owned())) };
        }
        let mut inputs = HashMap::new();
        for (index, input) in network.inputs.iter().enumerate() {
            let ty = network.body.ty(input.value);
            inputs.extend(read(&data, "input", index, ty)?.map(|value| (input.name.clone(), value)));
        }
        let outputs = runner(&network, &inputs).map_err(Failure::Run)?;
        for (index, (output, found)) in network.outputs.iter().zip(&outputs).enumerate() {
            let ty = network.body.ty(output.value);
            let Some(expected) = read(&data, "output", index, ty)? else {
                return Err(Failure::Data(format!("output_{index}.pb is missing")));
            };
            compare(found, &expected, tolerance).map_err(|e| Failure::Result { set, index, reason: e.to_string() })?;
        }
    }
    Ok(())
}

fn read(folder: &Path, kind: &str, index: usize, ty: &sinter_base::ValueType) -> Result<Option<Value>, Failure> {
    let path = folder.join(format!("{kind}_{index}.pb"));
    match fs::read(&path) {
        Err(_) => Ok(None),
        Ok(bytes) => {
            decode_value(bytes.into(), ty).map(Some).map_err(|e| Failure::Data(format!("{kind}_{index}.pb: {e}")))
        }
    }
}

/// Folders of all cases of a suite (`node`, `simple`, ...), by name.
///
/// # Errors
/// When the data folder cannot be read.
pub fn cases(data: &Path, suite: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(data.join(suite))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.join("model.onnx").is_file())
        .collect();
    folders.sort();
    Ok(folders)
}
