//! How many layer norms, activations and attentions are recognised in the zoo's graphs.
//!
//! Counting needs no weights: large ones are mapped from one sparse file of zeros.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use sinter_import_onnx::proto::{ModelProto, StringStringEntryProto};
use sinter_import_onnx::{ImportOptions, import_model};
use sinter_ir::Network;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::pointwise::program::Step;
use sinter_ops::{Body, Op};
use sinter_passes::{PassOptions, optimize};

use crate::models::shared;
use crate::round_trip;
use crate::shuffled::shuffled;

/// Graph, then how many of each its architecture has: layer and RMS norms, attentions, activations of each kind.
struct Expected {
    graph: &'static str,
    normalizations: usize,
    attentions: usize,
    activations: &'static [(ScalarOp, usize)],
}

const fn expected(
    graph: &'static str,
    normalizations: usize,
    attentions: usize,
    activations: &'static [(ScalarOp, usize)],
) -> Expected {
    Expected { graph, normalizations, attentions, activations }
}

use ScalarOp::{Gelu, GeluTanh, HardSigmoid, HardSwish, Sigmoid, Swish};

const ZOO: &[Expected] = &[
    expected("bert_base", 25, 12, &[(Gelu, 12)]),
    // Quantized: quantize and dequantize nodes stand between the parts of attention, which is a region of its own.
    expected("bert_base_int8_qdq", 25, 0, &[]),
    expected("bert_base_sdpa", 25, 12, &[(Gelu, 12)]),
    expected("bert_large_qa", 49, 24, &[(Gelu, 24)]),
    expected("convnext_tiny", 23, 0, &[(Gelu, 18)]),
    expected("deeplabv3_mobilenet", 0, 0, &[(HardSwish, 20), (HardSigmoid, 8)]),
    expected("detr_r50", 62, 36, &[]),
    expected("distilbert", 13, 6, &[(Gelu, 6)]),
    // 49 Swish and 16 plain sigmoids that gate channels.
    expected("efficientnet_b0", 0, 0, &[(Swish, 49), (Sigmoid, 16)]),
    expected("fasterrcnn_mobilenet_v3_large_320_fpn", 0, 0, &[(HardSwish, 20), (HardSigmoid, 8)]),
    expected("gpt2_step", 25, 12, &[(GeluTanh, 12)]),
    expected("minilm_l6", 13, 6, &[(Gelu, 6)]),
    // One layer norm, two group norms; two blocks and a time embedding.
    expected("sd_unet_block", 3, 1, &[(Swish, 3)]),
    expected("segformer_b0", 30, 8, &[(Gelu, 8)]),
    expected("ssdlite320_mobilenet_v3_large", 0, 0, &[(HardSwish, 20), (HardSigmoid, 8)]),
    // Five of twelve have a second mask that repeats over a part of the batch.
    expected("swin_t", 29, 12, &[(Gelu, 12)]),
    expected("t5_small_decoder", 19, 12, &[]),
    expected("t5_small_encoder", 13, 6, &[]),
    expected("timm_efficientvit_b0", 1, 0, &[(HardSwish, 24)]),
    expected("timm_ghostnet_100", 0, 0, &[(HardSigmoid, 7)]),
    expected("timm_levit_128s", 0, 11, &[(HardSwish, 25)]),
    expected("timm_mixer_b16_224", 25, 0, &[(Gelu, 24)]),
    expected("timm_mobilevit_s", 21, 9, &[(Swish, 34)]),
    expected("timm_vit_tiny_patch16_224", 25, 12, &[(Gelu, 12)]),
    expected("unet3d_small", 14, 0, &[]),
    expected("vit_b_16", 25, 12, &[(Gelu, 12)]),
    expected("vit_b_16_dynamo", 25, 12, &[(Gelu, 12)]),
    // 26 layer norms and one group norm over single channels.
    expected("wav2vec2_base", 27, 12, &[(Gelu, 20)]),
    expected("whisper_tiny_encoder", 9, 4, &[(Gelu, 6)]),
];

#[derive(Default, PartialEq)]
struct Found {
    normalizations: usize,
    attentions: usize,
    softmaxes: usize,
    activations: BTreeMap<String, usize>,
}

fn count(body: &Body, found: &mut Found) {
    for node in body.nodes() {
        match &node.op {
            Op::Normalize(_) => found.normalizations += 1,
            Op::Attention(_) => found.attentions += 1,
            Op::Softmax(_) => found.softmaxes += 1,
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

#[test]
fn the_zoo_is_recognised() {
    let Some(root) = shared("zoo") else { return };
    let folder = zeros();
    let mut failures = Vec::new();
    for expected in ZOO {
        let network = load(&root.join(format!("{}.onnx.xz", expected.graph)), folder.path());
        let (_, again) = recognised(shuffled(&network, 11));
        let before = round_trip::check(&network);
        let (optimized, found) = recognised(network);
        for text in [before, round_trip::check(&optimized)] {
            failures.extend(text.err().map(|reason| format!("{}: text form: {reason}", expected.graph)));
        }
        if found != again {
            failures.push(format!("{}: other counts with nodes permuted and values renamed", expected.graph));
        }
        let mut check = |what: &str, wanted: usize, found: usize| {
            if wanted != found {
                failures.push(format!("{}: {found} of {wanted} {what}", expected.graph));
            }
        };
        check("normalizations", expected.normalizations, found.normalizations);
        check("attentions", expected.attentions, found.attentions);
        for &(function, wanted) in expected.activations {
            check(&function.name(), wanted, found.activations.get(&function.name()).copied().unwrap_or(0));
        }
        eprintln!(
            "{:45} normalizations {:3}  attentions {:3}  other softmaxes {:2}  {:?}",
            expected.graph, found.normalizations, found.attentions, found.softmaxes, found.activations
        );
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
