//! Opening a model reads its description, not its weights: they stay in the mapped file, whatever their size.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use prost::Message;
use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::proto::ModelProto;
use sinter_import_onnx::{ImportOptions, import_file};

const WEIGHT_BYTES: usize = 400 << 20;

/// The system maps what surrounds a byte that is read, too.
const MAPPED_AROUND: usize = 1 << 20;

/// `y = x + w` with w: f32[100 Mi], whose elements the model does not have.
fn model(data: &str) -> ModelProto {
    let text = format!(
        "ir_version: 8 opset_import {{ version: 17 }} graph {{ name: 'large'
         node {{ op_type: 'Add' input: 'x' input: 'w' output: 'y' }} output {{ name: 'y' }}
         input {{ name: 'x' type {{ tensor_type {{ elem_type: 1 shape {{ dim {{ dim_value: 1 }} }} }} }} }}
         initializer {{ name: 'w' data_type: 1 dims: {} {data} }} }}",
        WEIGHT_BYTES / 4
    );
    decode_text(text.as_bytes()).unwrap()
}

fn field(number: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(length as u64, &mut bytes);
    bytes
}

/// A hole of this length behind `start`: a file that takes no room.
fn sparse(path: &Path, start: &[u8], hole: usize) {
    let mut file = File::create(path).unwrap();
    file.write_all(start).unwrap();
    file.set_len((start.len() + hole) as u64).unwrap();
}

/// Bytes of the mapping of a file that were touched; `None` when it is not mapped.
fn touched(path: &Path) -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let name = path.canonicalize().unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(name.to_str().unwrap()));
    let kilobytes = lines.find_map(|line| line.strip_prefix("Rss:"))?;
    Some(kilobytes.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024)
}

fn opens_without_reading(model: &Path, weights: &Path) {
    let network = import_file(model, &ImportOptions::default()).unwrap();
    assert_eq!(network.weights.len(), 1);
    // Elements that lie in memory of their own would have been read from the mapping, or there would be none.
    let read = touched(weights).expect("the weights are mapped while the network lives");
    assert!(read <= MAPPED_AROUND, "{read} bytes of the weights were read");
    drop(network);
    assert_eq!(touched(weights), None, "the mapping lives longer than the network");
}

#[test]
fn weights_in_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.onnx");
    let mut model = model("");
    // The weight's elements are written last of all.
    let mut graph = model.graph.take().unwrap();
    let weight = graph.initializer.pop().unwrap().encode_to_vec();
    let raw = field(9, WEIGHT_BYTES);
    let tensor = field(5, weight.len() + raw.len() + WEIGHT_BYTES);
    let graph = graph.encode_to_vec();
    let mut start = model.encode_to_vec();
    start.extend(field(7, graph.len() + tensor.len() + weight.len() + raw.len() + WEIGHT_BYTES));
    [graph, tensor, weight, raw].iter().for_each(|part| start.extend(part));
    sparse(&path, &start, WEIGHT_BYTES);
    opens_without_reading(&path, &path);
}

#[test]
fn weights_in_external_data() {
    let folder = tempfile::tempdir().unwrap();
    let (path, weights) = (folder.path().join("large.onnx"), folder.path().join("large.bin"));
    sparse(&weights, &[0; 64], WEIGHT_BYTES);
    let data = "data_location: EXTERNAL external_data { key: 'location' value: 'large.bin' }
                external_data { key: 'offset' value: '64' }";
    std::fs::write(&path, model(data).encode_to_vec()).unwrap();
    opens_without_reading(&path, &weights);
}
