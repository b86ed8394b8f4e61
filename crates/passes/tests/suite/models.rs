//! The shared real models: the reference executor computes the same results after the passes as before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sinter_base::Value;
use sinter_import_onnx::{ImportOptions, import_file};
use sinter_interp::{FastEvaluator, run_with};
use sinter_passes::{PassOptions, optimize};
use sinter_tensor_io::read_npz;

/// Models whose quantized arithmetic amplifies a rounding to a step of the scale: compared by their expected outputs in
/// the conformance suite, not here.
const QUANTIZED: &[&str] = &["qdq", "qoperator", "dynint8", "dynquant", "qlstm"];

/// The shared folder; `None` with a printed reason where it is absent, which fails in CI.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let root = std::env::var_os("SINTER_SHARED").map_or_else(|| PathBuf::from(default), PathBuf::from).join(folder);
    if root.is_dir() {
        return Some(root);
    }
    let reason = format!("skipped: {} is not there; set SINTER_SHARED", root.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    eprintln!("{reason}");
    None
}

fn check(folder: &Path) -> Result<(), String> {
    let file = std::fs::read_dir(folder).map_err(|e| e.to_string())?.flatten().map(|entry| entry.path());
    let Some(model) = file.filter(|f| f.extension().is_some_and(|e| e == "onnx")).min() else { return Ok(()) };
    let network = import_file(&model, &ImportOptions::default()).map_err(|e| e.to_string())?;
    let optimized = optimize(network.clone(), PassOptions::default()).map_err(|e| e.to_string())?;
    let mut given = HashMap::new();
    for (input, array) in read_npz(&folder.join("inputs_0.npz"), 1 << 28).map_err(|e| e.to_string())? {
        given.insert(input, Value::Tensor(array.to_tensor(None)?));
    }
    let before = run_with(&network, &given, &FastEvaluator).map_err(|e| format!("before: {e}"))?;
    let after = run_with(&optimized.network, &given, &FastEvaluator).map_err(|e| format!("after: {e}"))?;
    for ((before, after), output) in before.iter().zip(&after).zip(&network.outputs) {
        let (Some(before), Some(after)) = (before.as_tensor(), after.as_tensor()) else { continue };
        if before.sizes() != after.sizes() || before.data_type() != after.data_type() {
            return Err(format!("'{}': {before:?} became {after:?}", output.name));
        }
        let (a, b) = (before.to_floats(), after.to_floats());
        let largest = a.iter().fold(0f64, |m, v| m.max(v.abs()));
        // Results are rounded to their type after every node, in other places than before.
        let bound = if before.data_type().bits() < 32 { 2e-2 } else { 2e-4 } * largest + 1e-6;
        let worst = a.iter().zip(&b).fold(0f64, |m, (a, b)| if a == b { m } else { m.max((a - b).abs()) });
        if worst > bound || worst.is_nan() {
            return Err(format!("'{}' differs by {worst:e}, allowed {bound:e}", output.name));
        }
    }
    Ok(())
}

#[test]
fn real_models_compute_the_same() {
    let Some(root) = shared("models") else { return };
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root).expect("the folder of models").flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let (mut checked, mut failures) = (0, Vec::new());
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if QUANTIZED.iter().any(|q| name.contains(q)) || !folder.join("inputs_0.npz").exists() {
            continue;
        }
        checked += 1;
        if let Err(reason) = check(&folder) {
            failures.push(format!("{name}: {reason}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked >= 20, "only {checked} models were found");
}
