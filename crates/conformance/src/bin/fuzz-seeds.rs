//! Makes the seeds of the fuzz targets in `fuzz/corpus` from the models in text form of `decode_text`, which are written
//! by hand: the same models in binary form, plans of them, archives, and damaged files of each kind.
//!
//! Files whose names begin with `found-` were found by fuzzing; they stay as they are.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::error::Error;
use std::path::Path;

use prost::Message;
use sinter_base::{DataType, Tensor};
use sinter_conformance::engine::built;
use sinter_conformance::fuzz::CORPUS;
use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportOptions, import_model};
use sinter_plan::{Action, to_bytes};
use sinter_tensor_io::write_npz;
use sinter_testkit::Random;

/// Plans are padded to pages: larger ones would fill the corpus.
const MAX_PLAN_BYTES: usize = 12_000;

/// One file of so many has a damaged copy.
const DAMAGED_ONE_OF: usize = 10;

/// Files by name.
type Seeds = Vec<(String, Vec<u8>)>;

/// A cut and a copy with one bit changed.
fn damaged(bytes: &[u8], random: &mut Random) -> [Vec<u8>; 2] {
    let mut flipped = bytes.to_vec();
    let at = random.below(flipped.len());
    if let Some(byte) = flipped.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
    let cut = bytes.iter().take(random.below(bytes.len())).copied().collect();
    [cut, flipped]
}

/// Replaces the named seeds of a target.
fn write(target: &str, seeds: &[(String, Vec<u8>)]) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(CORPUS).join(target);
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("found-") {
            std::fs::remove_file(entry.path())?;
        }
    }
    let mut random = Random(1);
    let mut bytes = 0;
    for (index, (name, seed)) in seeds.iter().enumerate() {
        std::fs::write(folder.join(name), seed)?;
        bytes += seed.len();
        if index % DAMAGED_ONE_OF == 0 {
            for (kind, seed) in ["cut", "flipped"].iter().zip(damaged(seed, &mut random)) {
                std::fs::write(folder.join(format!("{name}-{kind}")), &seed)?;
                bytes += seed.len();
            }
        }
    }
    println!("{target}: {} seeds and damaged ones of {bytes} bytes", seeds.len());
    Ok(())
}

/// Archives of every element type, and of strings.
fn archives() -> Result<Seeds, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("sinter-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("seed.npz");
    let mut all = Vec::new();
    for types in DataType::ALL.chunks(6) {
        let tensor = |t: &DataType| match t {
            DataType::String => Tensor::from_strings(&[2], vec!["a".to_owned(), String::new()]),
            t => Tensor::from_floats(*t, &[3, 1], &[1.0, 0.0, 1.0]),
        };
        let tensors =
            types.iter().map(|t| Ok((t.to_string(), tensor(t)?))).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        write_npz(&path, &tensors)?;
        all.push((format!("from-{}", types.first().map_or("", |t| t.name())), std::fs::read(&path)?));
    }
    std::fs::remove_dir_all(folder)?;
    Ok(all)
}

fn main() -> Result<(), Box<dyn Error>> {
    let texts = Path::new(CORPUS).join("decode_text");
    let mut names: Vec<_> = std::fs::read_dir(texts)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    names.sort();
    let (mut models, mut plans) = (Vec::new(), Vec::new());
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(model) = decode_text(&std::fs::read(&path)?) else { continue };
        models.push((name.clone(), model.encode_to_vec()));
        let options = ImportOptions { max_bytes: 1 << 20, ..ImportOptions::default() };
        let Some(plan) = import_model(&model, None, &options).ok().and_then(|network| built(&network).ok()) else {
            continue;
        };
        // A damaged loop may rightly run for years.
        let loops = plan.graph.steps.iter().any(|step| matches!(step.action, Action::Control { .. }));
        let bytes = to_bytes(&plan);
        if !loops && bytes.len() <= MAX_PLAN_BYTES {
            plans.push((name, bytes));
        }
    }
    write("import_onnx", &models)?;
    let damaged_only: Seeds = models.iter().step_by(7).cloned().collect();
    write("decode_onnx", &damaged_only)?;
    write("read_plan", &plans)?;
    write("read_npz", &archives()?)
}
