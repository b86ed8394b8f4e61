//! The shared real models through the reference executor and through the built engine, with their own inputs and
//! expected outputs. Engines run in the lean program, from the bytes of the saved plan.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sinter_base::{Tensor, Value};
use sinter_conformance::engine::{built, check_kernels, lean_program};
use sinter_import_onnx::{ImportOptions, import_file};
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::Network;
use sinter_lean::client::LeanProgram;
use sinter_plan::to_bytes;
use sinter_tensor_io::read_npz;

/// Largest input or output file of a model.
const MAX_BYTES: usize = 1 << 30;

/// How the outputs of a model are compared (the models' INDEX.md).
enum Rule {
    /// `max |a - b| <= absolute + relative max |b|`.
    Within { absolute: f64, relative: f64 },
    /// Quantized: the angle between results.
    Cosine(f64),
}

fn rule_of(name: &str) -> Rule {
    match name {
        n if n.ends_with("fp16") => Rule::Within { absolute: 0.0, relative: 2e-2 },
        n if ["qdq", "qoperator", "dynint8", "dynquant", "qlstm"].iter().any(|q| n.contains(q)) => Rule::Cosine(0.97),
        _ => Rule::Within { absolute: 1e-4, relative: 1e-3 },
    }
}

fn agree(found: &Tensor, expected: &Tensor, rule: &Rule) -> Result<(), String> {
    if found.sizes() != expected.sizes() || found.data_type() != expected.data_type() {
        return Err(format!("found {found:?}, expected {expected:?}"));
    }
    let (a, b) = (found.to_floats(), expected.to_floats());
    match rule {
        Rule::Within { absolute, relative } => {
            let largest = b.iter().fold(0f64, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(&b).fold(0f64, |m, (a, b)| if a == b { m } else { m.max((a - b).abs()) });
            let bound = absolute + relative * largest;
            if worst <= bound { Ok(()) } else { Err(format!("differs by {worst:e}, allowed {bound:e}")) }
        }
        Rule::Cosine(least) => {
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt().max(1e-300);
            if cosine >= *least || a == b { Ok(()) } else { Err(format!("cosine {cosine}, at least {least} needed")) }
        }
    }
}

/// Tensors of a file by name.
pub(crate) fn tensors(path: &Path) -> Result<HashMap<String, Tensor>, String> {
    let arrays = read_npz(path, MAX_BYTES).map_err(|e| format!("{}: {e}", path.display()))?;
    arrays.into_iter().map(|(name, array)| Ok((name, array.to_tensor(None)?))).collect()
}

/// The network of a model's folder.
pub(crate) fn network_of(folder: &Path) -> Result<Network, String> {
    let model = model_file(folder).ok_or("it has no .onnx file")?;
    import_file(&model, &ImportOptions::default()).map_err(|e| e.to_string())
}

/// Runs all data sets of a model and compares; returns how many there are.
fn check_model(
    name: &str,
    folder: &Path,
    network: &Network,
    run: &mut dyn FnMut(HashMap<String, Value>) -> Result<Vec<Value>, String>,
) -> Result<usize, String> {
    let rule = rule_of(name);
    for set in 0.. {
        let inputs = folder.join(format!("inputs_{set}.npz"));
        if !inputs.exists() {
            return Ok(set);
        }
        let given = tensors(&inputs)?.into_iter().map(|(name, tensor)| (name, tensor.into())).collect();
        let found = run(given)?;
        for (output, expected) in tensors(&folder.join(format!("outputs_{set}.npz")))? {
            let position = network.outputs.iter().position(|o| o.name == output);
            let value = position.and_then(|p| found[p].as_tensor()).ok_or(format!("no output '{output}'"))?;
            agree(value, &expected, &rule).map_err(|e| format!("data set {set}, '{output}': {e}"))?;
        }
    }
    Ok(0)
}

fn model_file(folder: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|path| path.extension().is_some_and(|e| e == "onnx"))
}

/// The models of the folder that are in ONNX form, by name.
pub(crate) fn onnx_models(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut models: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .expect("the folder of models")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir() && model_file(path).is_some())
        .map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path))
        .collect();
    models.sort();
    models
}

/// Models on which the reference executor and the expected values differ at a tie of a quantization, with the known
/// cause. The engine agrees with all of them; an entry with which the reference executor agrees fails the test.
const TIES: &[(&str, &str)] = &[(
    "fastestdet-qdq-int8",
    "in its second data set one activation of the first convolution is -22.49999996 quantization steps; sums in f32, ONNX \
     Runtime's and ours, round to the other side of the tie, and every later layer rounds to int8 anew",
)];

/// Runs every model by one machine; `excused` may, and then must, fail.
fn check_all(excused: &[(&str, &str)], check: &mut dyn FnMut(&str, &Path) -> Result<usize, String>) {
    let Some(folder) = crate::shared("models") else { return };
    let models = onnx_models(&folder);
    let mut wrong = Vec::new();
    for (name, path) in &models {
        let start = std::time::Instant::now();
        let (result, excuse) = (check(name, path), excused.iter().find(|(excused, _)| excused == name));
        println!("{name}: {:.2} s", start.elapsed().as_secs_f64());
        match (result, excuse) {
            (Ok(sets), None) if sets > 0 => {}
            (Ok(0), None) => wrong.push(format!("{name} has no data")),
            (Ok(_), _) => wrong.push(format!("{name} agrees, but stands in a list of those that do not")),
            (Err(reason), Some((_, known))) => println!("{name}: {reason}; {known}"),
            (Err(reason), None) => wrong.push(format!("{name}: {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {} models:\n{}", wrong.len(), models.len(), wrong.join("\n"));
    assert_eq!(models.len(), 33, "the number of shared ONNX models");
}

#[test]
fn shared_models_agree_by_the_judge() {
    check_all(TIES, &mut |name, folder| {
        let network = network_of(folder)?;
        check_model(name, folder, &network, &mut |given| {
            run_with(&network, &given, &FastEvaluator).map_err(|e| e.to_string())
        })
    });
}

#[test]
fn shared_models_agree_by_the_engine() {
    let lean = lean_program().expect("the lean program");
    let mut lean = LeanProgram::start(&lean, None).expect("the lean program");
    check_all(&[], &mut |name, folder| {
        let network = network_of(folder)?;
        let plan = built(&network)?;
        check_kernels(&plan)?;
        let mut bytes = Bytes::from(to_bytes(&plan));
        // The lean program gets the plan once; an empty plan refers to it afterwards.
        check_model(name, folder, &network, &mut |given| {
            lean.run(std::mem::take(&mut bytes), 2, given.into_iter().collect())
        })
    });
}
