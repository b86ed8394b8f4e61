//! Damaged and hostile model files: an error or a network, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use prost::Message;
use sinter_conformance::fuzz::import_onnx;
use sinter_import_onnx::decode::decode_binary;
use sinter_import_onnx::proto::ModelProto;
use sinter_import_onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use sinter_import_onnx::proto::type_proto::Value;
use sinter_testkit::Random;

const MUTATIONS: usize = 20_000;

/// One change of a kind that files suffer: flipped bits, other bytes, cuts, repeated and removed pieces.
pub(crate) fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    let at = random.below(length);
    match random.below(12) {
        0 => bytes.truncate(at),
        1 => {
            let end = (at + 1 + random.below(16)).min(length);
            bytes.drain(at..end);
        }
        2 => {
            let piece: Vec<u8> = bytes[at..(at + 1 + random.below(32)).min(length)].to_vec();
            bytes.splice(at..at, piece);
        }
        3..=5 => bytes[at] = random.bits() as u8,
        6 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
        _ => bytes[at] ^= 1 << random.below(8),
    }
}

/// One change of a decoded model: what a confused or malicious exporter could write. Always gets past the decoder.
fn confuse(model: &mut ModelProto, others: &[String], random: &mut Random) {
    const EXTREMES: [i64; 9] = [0, 1, -1, 2, 1 << 20, 1 << 40, i64::MAX, i64::MIN, -3];
    let number = EXTREMES[random.below(EXTREMES.len())];
    let Some(graph) = &mut model.graph else { return };
    let (nodes, inputs, weights) = (graph.node.len(), graph.input.len(), graph.initializer.len());
    match random.below(9) {
        0 if nodes > 0 => graph.node[random.below(nodes)].op_type = Some(others[random.below(others.len())].clone()),
        1 if nodes > 0 => {
            let node = &mut graph.node[random.below(nodes)];
            let (a, b) = (random.below(node.input.len()), random.below(node.input.len()));
            if !node.input.is_empty() {
                node.input.swap(a, b);
            }
        }
        2 if nodes > 0 => {
            graph.node[random.below(nodes)].input.pop();
        }
        3 | 4 if nodes > 0 => {
            let node = &mut graph.node[random.below(nodes)];
            let count = node.attribute.len();
            if count > 0 {
                let attribute = &mut node.attribute[random.below(count)];
                attribute.i = attribute.i.map(|_| number);
                if !attribute.ints.is_empty() {
                    let at = random.below(attribute.ints.len());
                    attribute.ints[at] = number;
                }
                attribute.f = attribute.f.map(|_| number as f32);
            }
        }
        5 if weights > 0 => {
            let weight = &mut graph.initializer[random.below(weights)];
            match weight.dims.len() {
                0 => weight.dims.push(number),
                rank => weight.dims[random.below(rank)] = number,
            }
        }
        6 if inputs > 0 => {
            let input = &mut graph.input[random.below(inputs)];
            let Some(Value::TensorType(ty)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) else { return };
            match ty.shape.as_mut().and_then(|s| s.dim.last_mut()) {
                Some(dim) if random.below(2) == 0 => dim.value = Some(DimValue::DimValue(number)),
                _ => ty.elem_type = Some(random.below(30) as i32),
            }
        }
        7 if inputs > 0 => {
            let input = &mut graph.input[random.below(inputs)];
            if let Some(Value::TensorType(ty)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) {
                ty.shape = None;
            }
        }
        _ => model.opset_import.iter_mut().for_each(|o| o.version = Some(random.below(30) as i64)),
    }
}

#[test]
fn mutated_models_never_panic() {
    let Some(data) = crate::onnx_data() else { return };
    let cases = sinter_conformance::onnx_cases::cases(&data, "node").expect("the node tests");
    let corpus: Vec<(String, Vec<u8>)> = cases
        .iter()
        .filter_map(|folder| Some((folder.display().to_string(), std::fs::read(folder.join("model.onnx")).ok()?)))
        .filter(|(_, bytes)| bytes.len() < 20_000)
        .collect();
    let operators: Vec<String> = sinter_import_onnx::table::ALL.iter().map(|e| e.name.to_owned()).collect();
    let mut random = Random(7);
    let mut decoded = 0;
    for round in 0..MUTATIONS {
        let (name, original) = &corpus[random.below(corpus.len())];
        let mut bytes = original.clone();
        if round % 2 == 0 {
            let mut model = decode_binary(Bytes::from(bytes)).expect("a model of the test data");
            (0..=random.below(3)).for_each(|_| confuse(&mut model, &operators, &mut random));
            bytes = model.encode_to_vec();
        } else {
            for _ in 0..=random.below(3) {
                if !bytes.is_empty() {
                    mutate(&mut bytes, &mut random);
                }
            }
        }
        let kept = bytes.clone();
        match catch_unwind(AssertUnwindSafe(|| import_onnx(bytes.into()))) {
            Ok(past_decoder) => decoded += usize::from(past_decoder),
            Err(_) => {
                let path = std::env::temp_dir().join("sinter-hostile.onnx");
                let _ = std::fs::write(&path, kept);
                panic!("round {round}, from {name}: a panic; the file is {}", path.display());
            }
        }
    }
    println!("{decoded} of {MUTATIONS} mutations got past the decoder");
    assert!(decoded * 10 >= MUTATIONS * 3, "only {decoded} of {MUTATIONS} mutations got past the decoder");
}

#[test]
fn files_that_are_no_models_say_so() {
    for bytes in [&b""[..], b"not a model", b"\x08", &[0xFF; 64], b"PK\x03\x04"] {
        assert!(decode_binary(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
    }
    // Deep nesting: a graph inside an attribute inside a node inside a graph ... is refused by the decoder.
    let mut nested: Vec<u8> = Vec::new();
    for field in [0x3A, 0x0A, 0x2A, 0x32].iter().cycle().take(4000) {
        let mut outer = vec![*field];
        let mut length = nested.len();
        while length >= 0x80 {
            outer.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&nested);
        nested = outer;
    }
    let _ = import_onnx(nested.into());
}
