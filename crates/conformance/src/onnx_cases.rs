//! Cases of the ONNX backend test data: a folder with `model.onnx` and `test_data_set_K/{input,output}_N.pb`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sinter_base::{Value, ValueType};
use sinter_import_onnx::decode::decode_file;
use sinter_import_onnx::proto::ModelProto;
use sinter_import_onnx::test_data::decode_value;
use sinter_import_onnx::{ImportOptions, import_model};
use sinter_ir::Network;

use crate::rules::{Rule, amend, rule_of};

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

/// Inputs by name and expected outputs in order.
pub struct DataSet {
    /// By name.
    pub inputs: HashMap<String, Value>,
    /// In the network's order.
    pub expected: Vec<Value>,
}

/// One case, read.
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// The model as decoded.
    pub model: ModelProto,
    /// The model as imported.
    pub network: Network,
    /// At least one.
    pub sets: Vec<DataSet>,
    /// How outputs are judged.
    pub rule: Rule,
}

/// Computes the outputs of a network for inputs by name.
pub type Runner<'a> = &'a mut dyn FnMut(&Network, &HashMap<String, Value>) -> Result<Vec<Value>, String>;

impl Case {
    /// Reads a case from its folder.
    ///
    /// # Errors
    /// When model or data cannot be read, or the model is not imported.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut model = decode_file(&folder.join("model.onnx")).map_err(|e| Failure::Import(e.to_string()))?;
        amend(&name, &mut model);
        let network = import_model(&model, Some(folder), &ImportOptions::default())
            .map_err(|e| Failure::Import(e.to_string()))?;
        let mut sets = Vec::new();
        for set in 0.. {
            let data = folder.join(format!("test_data_set_{set}"));
            if !data.is_dir() {
                break;
            }
            let mut inputs = HashMap::new();
            for (index, input) in network.inputs.iter().enumerate() {
                let value = read(&data, "input", index, network.body.ty(input.value))?;
                inputs.extend(value.map(|value| (input.name.clone(), value)));
            }
            let mut expected = Vec::new();
            for (index, output) in network.outputs.iter().enumerate() {
                let value = read(&data, "output", index, network.body.ty(output.value))?;
                expected.push(value.ok_or_else(|| Failure::Data(format!("output_{index}.pb is missing")))?);
            }
            sets.push(DataSet { inputs, expected });
        }
        if sets.is_empty() {
            return Err(Failure::Data("there is no test_data_set_0".to_owned()));
        }
        let rule = rule_of(&name);
        Ok(Self { name, model, network, sets, rule })
    }

    /// Runs all data sets.
    ///
    /// # Errors
    /// The first failure.
    pub fn run(&self, runner: Runner<'_>) -> Result<(), Failure> {
        for (set, data) in self.sets.iter().enumerate() {
            let found = runner(&self.network, &data.inputs).map_err(Failure::Run)?;
            let judged = self.rule.judge(&self.network, &data.inputs, &found, &data.expected);
            judged.map_err(|(index, reason)| Failure::Result { set, index, reason })?;
        }
        Ok(())
    }
}

fn read(folder: &Path, kind: &str, index: usize, ty: &ValueType) -> Result<Option<Value>, Failure> {
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

/// Cases that are not expected to pass, as suite/name, each with its reason.
pub fn ignored() -> HashMap<&'static str, &'static str> {
    include_str!("../ignored.txt")
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect()
}
