//! Real models from file to result, when the shared ones are at hand: built, then run from the plan alone.

use crate::fixture::{Folder, arguments, json, onnx_in, shared_models};

/// One of each kind that is quick: dynamic dimensions, control flow, external data, half precision, quantized.
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
    let Some(models) = shared_models() else { return };
    for (name, bounds) in MODELS {
        let source = models.join(name);
        let model = onnx_in(&source);
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
