//! The `light` networks of the ONNX package: full topologies whose weights are constants, with expected outputs.
//!
//! Inputs follow the package's own runner: element `i` of an input of `n` elements is `i / n`.

use std::collections::HashMap;
use std::path::Path;

use sinter_base::{Tensor, Value, ValueType};
use sinter_import_onnx::test_data::decode_value;
use sinter_import_onnx::{ImportOptions, import_file};
use sinter_interp::{FastEvaluator, Tolerance, compare, run_with};

/// Runs all networks of the folder; returns what failed.
pub fn run_all(folder: &Path) -> Vec<String> {
    let mut failures = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut models: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    for model in &models {
        if let Err(reason) = run_one(model) {
            failures.push(format!("{}: {reason}", model.display()));
        }
    }
    if models.len() < 9 {
        failures.push(format!("{} networks in {}, 9 expected", models.len(), folder.display()));
    }
    failures
}

fn run_one(model: &Path) -> Result<(), String> {
    let network = import_file(model, &ImportOptions::default()).map_err(|e| e.to_string())?;
    let mut inputs = HashMap::new();
    for input in &network.inputs {
        let ty = network.body.ty(input.value);
        inputs.insert(input.name.clone(), Value::Tensor(ramp(ty)?));
    }
    let found = run_with(&network, &inputs, &FastEvaluator).map_err(|e| e.to_string())?;
    for (index, (output, value)) in network.outputs.iter().zip(&found).enumerate() {
        let path = model
            .with_file_name(format!("{}_output_{index}.pb", model.file_stem().unwrap_or_default().to_string_lossy()));
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let expected = decode_value(bytes.into(), network.body.ty(output.value))?;
        compare(value, &expected, Tolerance::ONNX).map_err(|e| format!("output {index}: {e}"))?;
    }
    Ok(())
}

fn ramp(ty: &ValueType) -> Result<Tensor, String> {
    let tensor = ty.as_tensor().ok_or("an input is no tensor")?;
    let sizes = tensor.shape.sizes().ok_or_else(|| format!("an input has the open type {ty}"))?;
    let count: usize = sizes.iter().product();
    let values: Vec<f64> = (0..count).map(|i| i as f64 / count as f64).collect();
    Tensor::from_floats(tensor.data_type, &sizes, &values).map_err(|e| e.to_string())
}
