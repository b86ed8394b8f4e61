//! The bodies of the fuzz targets in `fuzz/`: any bytes give a value or an error, never a panic. The same functions run
//! on mutated files, and on the seeds in `fuzz/corpus`, in the ordinary tests.

use std::io::Cursor;
use std::path::Path;

use bytes::Bytes;
use sinter_backend::BackEnd;
use sinter_base::{Tensor, Value, ValueType};
use sinter_cpu::Cpu;
use sinter_import_onnx::decode::{decode_binary, decode_text as decode_text_model};
use sinter_import_onnx::{ImportOptions, import_model};
use sinter_plan::{Plan, Trust, from_bytes};
use sinter_runtime::{Engine, EngineOptions, RuntimeError};
use sinter_tensor_io::parse_npz;

use crate::engine::built;

/// Folder of the seeds, with a folder for each target.
pub const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

/// The body of a fuzz target; true when it accepted the bytes.
pub type Body = fn(Bytes) -> bool;

/// Every target of `fuzz/fuzz_targets`.
pub const TARGETS: &[(&str, Body)] = &[
    ("decode_onnx", decode_onnx),
    ("decode_text", decode_text),
    ("import_onnx", import_onnx),
    ("read_npz", read_npz),
    ("read_plan", read_plan),
];

/// Memory that a fuzzed model or plan may take.
const MAX_MEMORY: usize = 64 << 20;

/// Substitute for dynamic dimensions of inputs.
const OPEN_SIZE: usize = 2;

/// Largest input that is made.
const MAX_ELEMENTS: usize = 1 << 16;

/// Decodes a binary model; true when it got past the decoder.
pub fn decode_onnx(bytes: Bytes) -> bool {
    decode_binary(bytes).is_ok()
}

/// Decodes a model in text form; true when it is one.
pub fn decode_text(bytes: Bytes) -> bool {
    decode_text_model(&bytes).is_ok()
}

/// Reads an archive of arrays, and converts each to its tensor; true when it could be read.
pub fn read_npz(bytes: Bytes) -> bool {
    let Ok(arrays) = parse_npz(Cursor::new(bytes), Path::new("archive"), MAX_MEMORY) else { return false };
    arrays.iter().for_each(|(_, array)| {
        // An error is as good as a tensor.
        let _ = array.to_tensor(None);
    });
    true
}

/// Decodes and imports a model; true when it got past the decoder.
pub fn import_onnx(bytes: Bytes) -> bool {
    let Ok(model) = decode_binary(bytes) else { return false };
    // Whether it imports is not the question.
    let _ = import_model(&model, None, &ImportOptions { max_bytes: MAX_MEMORY, ..ImportOptions::default() });
    true
}

/// Imports and builds a model; true when it became a plan.
pub fn build_onnx(bytes: Bytes) -> bool {
    let Ok(model) = decode_binary(bytes) else { return false };
    let options = ImportOptions { max_bytes: MAX_MEMORY, ..ImportOptions::default() };
    import_model(&model, None, &options).is_ok_and(|network| built(&network).is_ok())
}

/// Loads a plan for a back end.
///
/// # Errors
/// Why it cannot be run.
pub fn load_plan(plan: Plan, back_ends: &[&dyn BackEnd]) -> Result<Engine, RuntimeError> {
    Engine::load(plan, back_ends, &EngineOptions { threads: 1, max_memory: MAX_MEMORY })
}

/// Reads a plan, loads it and runs it on inputs of its declared types; true when it could be read.
///
/// # Panics
/// When a kernel does, which an engine would report as an error.
pub fn read_plan(bytes: Bytes) -> bool {
    let Ok(plan) = from_bytes(bytes, Trust::Nothing) else { return false };
    let inputs = inputs_of(&plan, 1);
    if let (Ok(engine), Some(inputs)) = (load_plan(plan, &[&Cpu]), inputs) {
        // Any other error is as good as a result.
        let report = |error: RuntimeError| assert!(!matches!(error, RuntimeError::Panic { .. }), "{error}");
        engine.run(inputs).map_or_else(report, drop);
        engine.self_test().map_or_else(report, drop);
    }
    true
}

/// Small inputs of the declared types; `None` where one is no tensor or too large. Each dynamic dimension is by `apart`
/// larger than the one before.
pub fn inputs_of(plan: &Plan, apart: usize) -> Option<Vec<(String, Value)>> {
    let mut open: Vec<sinter_base::Dim> = Vec::new();
    let input = |port: &sinter_plan::Port| {
        let ty = match &plan.graph.values.get(port.value.index())?.ty {
            ValueType::Tensor(ty) => ty,
            _ => return None,
        };
        let size = |dim: &sinter_base::Dim| match dim.as_constant() {
            Some(size) => usize::try_from(size).ok(),
            None => {
                let known = open.iter().position(|known| known == dim);
                let number = known.unwrap_or(open.len());
                if known.is_none() {
                    open.push(dim.clone());
                }
                Some(OPEN_SIZE + number * apart)
            }
        };
        let sizes = ty.dims().ok()?.iter().map(size).collect::<Option<Vec<usize>>>()?;
        let count = sinter_base::shape::element_count(&sizes).filter(|count| *count <= MAX_ELEMENTS)?;
        let values: Vec<f64> = (0..count).map(|i| (i % 3) as f64).collect();
        let tensor = match ty.data_type {
            sinter_base::DataType::String => Tensor::from_strings(&sizes, vec!["a b".to_owned(); count]),
            data_type => Tensor::from_floats(data_type, &sizes, &values),
        };
        Some((port.name.clone(), tensor.ok()?.into()))
    };
    plan.inputs.iter().map(input).collect()
}
