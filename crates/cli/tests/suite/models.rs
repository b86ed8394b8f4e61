//! Real models from file to verdict, when the shared ones are at hand: built, then run from the plan alone.

use std::path::PathBuf;

use crate::fixture::{Folder, arguments, json};

/// One of each kind that is quick: free sizes, control flow, external data, half precision, quantized.
const MODELS: &[(&str, &[&str])] = &[
    ("bert-mini-dynamic", &[]),
    ("yunet-n-dynamic", &[]),
    ("silero-vad-v5-if", &[]),
    ("toy-loop", &[]),
    ("mnist-external-data", &[]),
    ("yunet-n-320-fp16", &["--atol", "0", "--rtol", "2e-2"]),
    ("mnist-qdq-int8", &["--min-cosine", "0.97"]),
];

#[test]
fn shared_models_agree_with_their_expected_outputs() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let shared = std::env::var_os("SINTER_SHARED").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if !shared.join("models").is_dir() {
        let reason = format!("skipped: {} holds no models; set SINTER_SHARED", shared.display());
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        eprintln!("{reason}");
        return;
    }
    for (name, bounds) in MODELS {
        let source = shared.join("models").join(name);
        let entries = std::fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path());
        let model = entries.into_iter().find(|path| path.extension().is_some_and(|e| e == "onnx")).unwrap();
        let folder = Folder::new();
        let plan = folder.path("model.plan");
        json(&arguments!["build", model, "-o", plan]);
        for set in 0.. {
            let inputs = source.join(format!("inputs_{set}.npz"));
            if !inputs.exists() {
                assert!(set > 0, "{name} has no data");
                break;
            }
            let expected = source.join(format!("outputs_{set}.npz"));
            let mut all = arguments!["diff", plan, "--inputs", inputs, "--expect", expected].to_vec();
            all.extend(bounds.iter().map(std::ffi::OsString::from));
            assert_eq!(json(&all)["within"], true, "{name}, data set {set}");
        }
    }
}
