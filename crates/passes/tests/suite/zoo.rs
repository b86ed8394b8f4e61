//! Counts the layer norms, activations, attentions and rotary embeddings that the passes recognise in the zoo's graphs.
//!
//! Counting needs no weights: large ones are mapped from one sparse file of zeros.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use sinter_import_onnx::proto::{ModelProto, StringStringEntryProto};
use sinter_import_onnx::{ImportOptions, import_file, import_model};
use sinter_ir::Network;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::pointwise::program::Step;
use sinter_ops::{Body, Op};
use sinter_passes::{PassOptions, optimize};

use crate::models::shared;
use crate::round_trip;
use crate::shuffled::shuffled;

/// Graph, then how many of each its architecture has: layer and RMS norms, attentions, rotary embeddings, softmaxes
/// that are no part of an attention, and activations of each kind of [`FUNCTIONS`].
struct Expected {
    graph: &'static str,
    structures: [usize; 4],
    activations: &'static [(ScalarOp, usize)],
}

/// The structures that `structures` counts.
const STRUCTURES: [&str; 4] = ["normalizations", "attentions", "rotary embeddings", "other softmaxes"];

const fn expected(graph: &'static str, structures: [usize; 4], activations: &'static [(ScalarOp, usize)]) -> Expected {
    Expected { graph, structures, activations }
}

use ScalarOp::{Gelu, GeluTanh, HardSigmoid, HardSwish, Mish, Sigmoid, Softplus, Swish};

const FUNCTIONS: [ScalarOp; 8] = [Gelu, GeluTanh, HardSigmoid, HardSwish, Mish, Sigmoid, Softplus, Swish];

/// All graphs of the zoo.
const ZOO: &[Expected] = &[
    expected("bert_base", [25, 12, 0, 0], &[(Gelu, 12)]),
    // Quantized: between the parts of attention and of activations stand quantizations, which must stay.
    expected("bert_base_int8_qdq", [25, 0, 0, 12], &[]),
    expected("bert_base_sdpa", [25, 12, 0, 0], &[(Gelu, 12)]),
    expected("bert_large_qa", [49, 24, 0, 0], &[(Gelu, 24)]),
    expected("char_rnn_step", [0, 0, 0, 0], &[]),
    expected("convnext_tiny", [23, 0, 0, 0], &[(Gelu, 18)]),
    expected("deeplabv3_mobilenet", [0, 0, 0, 0], &[(HardSwish, 20), (HardSigmoid, 8)]),
    expected("densenet121", [0, 0, 0, 0], &[]),
    // One sigmoid bounds the boxes.
    expected("detr_r50", [62, 36, 0, 0], &[(Sigmoid, 1)]),
    expected("distilbert", [13, 6, 0, 0], &[(Gelu, 6)]),
    expected("dlrm", [0, 0, 0, 0], &[(Sigmoid, 1)]),
    // 49 Swish and 16 plain sigmoids that gate channels.
    expected("efficientnet_b0", [0, 0, 0, 0], &[(Swish, 49), (Sigmoid, 16)]),
    expected("efficientnet_b0_int8_qdq", [0, 0, 0, 0], &[(Sigmoid, 65)]),
    // The softmax of a detector is over classes.
    expected("fasterrcnn_mobilenet_v3_large_320_fpn", [0, 0, 0, 1], &[(HardSwish, 20), (HardSigmoid, 8), (Sigmoid, 1)]),
    expected("gpt2_step", [25, 12, 0, 0], &[(GeluTanh, 12)]),
    expected("gru_ctc_speech", [0, 0, 0, 1], &[]),
    expected("lstm_tagger", [0, 0, 0, 0], &[]),
    expected("maskrcnn_resnet50_fpn", [0, 0, 0, 1], &[(Sigmoid, 2)]),
    expected("minilm_l6", [13, 6, 0, 0], &[(Gelu, 6)]),
    expected("mobilenet_v2", [0, 0, 0, 0], &[]),
    expected("mobilenet_v2_int8_qdq", [0, 0, 0, 0], &[]),
    expected("ncf", [0, 0, 0, 0], &[(Sigmoid, 1)]),
    expected("resnet18", [0, 0, 0, 0], &[]),
    expected("resnet50", [0, 0, 0, 0], &[]),
    expected("resnet50_dynamo", [0, 0, 0, 0], &[]),
    expected("resnet50_int8_qdq", [0, 0, 0, 0], &[]),
    // One layer norm, two group norms; two blocks and a time embedding.
    expected("sd_unet_block", [3, 1, 0, 0], &[(Swish, 3)]),
    expected("segformer_b0", [30, 8, 0, 0], &[(Gelu, 8)]),
    expected("squeezenet1_1", [0, 0, 0, 0], &[]),
    expected("ssdlite320_mobilenet_v3_large", [0, 0, 0, 1], &[(HardSwish, 20), (HardSigmoid, 8)]),
    // Five of twelve attentions have a mask per window besides the bias per head.
    expected("swin_t", [29, 12, 0, 0], &[(Gelu, 12)]),
    expected("t5_small_decoder", [19, 12, 0, 0], &[]),
    expected("t5_small_encoder", [13, 6, 0, 0], &[]),
    expected("timm_efficientvit_b0", [1, 0, 0, 0], &[(HardSwish, 24)]),
    expected("timm_ghostnet_100", [0, 0, 0, 0], &[(HardSigmoid, 7)]),
    expected("timm_levit_128s", [0, 11, 0, 0], &[(HardSwish, 25)]),
    expected("timm_mixer_b16_224", [25, 0, 0, 0], &[(Gelu, 24)]),
    expected("timm_mobilevit_s", [21, 9, 0, 0], &[(Swish, 34)]),
    expected("timm_repvgg_a0", [0, 0, 0, 0], &[]),
    expected("timm_vit_tiny_patch16_224", [25, 12, 0, 0], &[(Gelu, 12)]),
    expected("unet3d_small", [14, 0, 0, 0], &[]),
    expected("vit_b_16", [25, 12, 0, 0], &[(Gelu, 12)]),
    expected("vit_b_16_dynamo", [25, 12, 0, 0], &[(Gelu, 12)]),
    expected("vit_b_16_int8_qdq", [25, 0, 0, 12], &[]),
    // 26 layer norms and one group norm over single channels.
    expected("wav2vec2_base", [27, 12, 0, 0], &[(Gelu, 20)]),
    expected("whisper_tiny_encoder", [9, 4, 0, 0], &[(Gelu, 6)]),
];

/// Of the shared models, those that have any of it.
const MODELS: &[Expected] = &[
    expected("bert-mini-dynamic", [4, 2, 0, 0], &[]),
    expected("fastestdet", [0, 0, 0, 1], &[(Sigmoid, 1)]),
    expected("gtcrn-simple", [4, 0, 0, 0], &[(Sigmoid, 6)]),
    // Layer norms by sums of squares, from JAX.
    expected("magika-v3-3", [2, 0, 0, 1], &[(GeluTanh, 2)]),
    expected("mnv3-face-heatmap", [0, 0, 0, 0], &[(HardSwish, 20), (HardSigmoid, 8)]),
    expected("rl-go1-policy", [0, 0, 0, 0], &[(Swish, 3)]),
    // Grouped query heads, neighbours rotated for queries and keys.
    expected("stories260k-prefill", [11, 5, 10, 0], &[(Swish, 5)]),
];

#[derive(Default, PartialEq)]
struct Found {
    structures: [usize; 4],
    activations: BTreeMap<String, usize>,
}

fn count(body: &Body, found: &mut Found) {
    for node in body.nodes() {
        match &node.op {
            Op::Normalize(_) => found.structures[0] += 1,
            Op::Attention(_) => found.structures[1] += 1,
            Op::RotaryEmbedding(_) => found.structures[2] += 1,
            Op::Softmax(_) => found.structures[3] += 1,
            Op::Pointwise(op) => {
                for step in op.program.steps() {
                    if let Step::Apply { op, .. } = step {
                        *found.activations.entry(op.name()).or_default() += 1;
                    }
                }
            }
            _ => {}
        }
        for inner in node.op.bodies() {
            count(inner, found);
        }
    }
}

/// Bytes of an element of these ONNX types.
fn element_bytes(data_type: i32) -> i64 {
    match data_type {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        7 | 11 => 8,
        _ => 4,
    }
}

/// The model with its missing weights in the file of zeros. The metadata list them with their shapes.
fn load(path: &Path, folder: &Path) -> Network {
    let file = std::fs::read(path).expect("a graph of the zoo");
    let mut bytes = Vec::new();
    lzma_rs::xz_decompress(&mut file.as_slice(), &mut bytes).expect("xz data");
    let mut model = ModelProto::decode(bytes.as_slice()).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    for tensor in &mut graph.initializer {
        let count: i64 = tensor.dims.iter().product();
        let length = count * element_bytes(tensor.data_type());
        let is_empty = tensor.raw_data.as_ref().is_none_or(|data| data.is_empty())
            && tensor.float_data.is_empty()
            && tensor.int32_data.is_empty()
            && tensor.int64_data.is_empty();
        if length > 0 && is_empty {
            tensor.raw_data = None;
            tensor.data_location = Some(1);
            let entry =
                |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
            tensor.external_data = vec![
                entry("location", "zeros.bin".to_owned()),
                entry("offset", "0".to_owned()),
                entry("length", length.to_string()),
            ];
        }
    }
    import_model(&model, Some(folder), &ImportOptions::default()).expect("an importable model")
}

fn recognised(network: Network) -> (Network, Found) {
    let optimized = optimize(network, PassOptions::default()).expect("the passes run").network;
    let mut found = Found::default();
    count(&optimized.body, &mut found);
    (optimized, found)
}

fn zeros() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = std::fs::File::create(folder.path().join("zeros.bin")).expect("a file");
    file.set_len(1 << 31).expect("a sparse file");
    folder
}

/// The wrong counts of a network.
fn check(expected: &Expected, network: Network) -> Vec<String> {
    let (_, again) = recognised(shuffled(&network, 11));
    let before = round_trip::check(&network);
    let (optimized, found) = recognised(network);
    let mut failures = Vec::new();
    for text in [before, round_trip::check(&optimized)] {
        failures.extend(text.err().map(|reason| format!("text form: {reason}")));
    }
    if found != again {
        failures.push("other counts with nodes permuted and values renamed".to_owned());
    }
    let mut compare = |what: &str, expected: usize, found: usize| {
        if expected != found {
            failures.push(format!("{found} of {expected} {what}"));
        }
    };
    for ((what, expected), found) in STRUCTURES.iter().zip(expected.structures).zip(found.structures) {
        compare(what, expected, found);
    }
    for function in FUNCTIONS {
        let expected = expected.activations.iter().find(|(known, _)| *known == function).map_or(0, |(_, count)| *count);
        compare(&function.name(), expected, found.activations.get(&function.name()).copied().unwrap_or(0));
    }
    eprintln!("{:40} {:?} {:?}", expected.graph, found.structures, found.activations);
    failures.iter().map(|failure| format!("{}: {failure}", expected.graph)).collect()
}

#[test]
fn the_zoo_is_recognised() {
    let Some(root) = shared("zoo") else { return };
    let folder = zeros();
    let path = |expected: &Expected| root.join(format!("{}.onnx.xz", expected.graph));
    let failures: Vec<String> =
        ZOO.iter().flat_map(|expected| check(expected, load(&path(expected), folder.path()))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let files = std::fs::read_dir(&root).expect("the folder of the zoo").flatten().map(|entry| entry.path());
    let graphs = files.filter(|path| path.extension().is_some_and(|e| e == "xz")).count();
    assert_eq!(ZOO.len(), graphs, "every graph has a row");
}

#[test]
fn the_shared_models_are_recognised() {
    let Some(root) = shared("models") else { return };
    let failures: Vec<String> = MODELS
        .iter()
        .flat_map(|expected| {
            let entries = std::fs::read_dir(root.join(expected.graph)).expect("the model's folder").flatten();
            let mut files = entries.map(|entry| entry.path());
            let file = files.find(|path| path.extension().is_some_and(|e| e == "onnx")).expect("a model");
            check(expected, import_file(&file, &ImportOptions::default()).expect("an importable model"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Where quantizations stand between the parts, the passes say so for each.
#[test]
fn quantized_parts_are_told() {
    let Some(root) = shared("zoo") else { return };
    let folder = zeros();
    for (graph, attentions, activations) in
        // Reports keep the first 32 of 49.
        [("bert_base_int8_qdq", 12, 12), ("vit_b_16_int8_qdq", 12, 12), ("efficientnet_b0_int8_qdq", 0, 32)]
    {
        let network = load(&root.join(format!("{graph}.onnx.xz")), folder.path());
        let report = optimize(network, PassOptions::default()).expect("the passes run").report;
        let told = |pass: &str| {
            let misses = report.iter().filter(|entry| entry.pass == pass).flat_map(|entry| &entry.misses);
            misses.filter(|(_, reason)| reason.contains("quantized")).count()
        };
        assert_eq!((told("attention"), told("activations")), (attentions, activations), "{graph}");
    }
}
