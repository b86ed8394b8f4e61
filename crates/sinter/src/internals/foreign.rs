//! Files of other programs. This module recognises them by their contents, so that a user who opens one as a model gets its
//! format in the error, and not the position where the ONNX decoder failed.

use std::path::Path;

use sinter_base::mapping::map_file;
use sinter_import_onnx::decode::is_text;

/// A file that is neither an ONNX model nor a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The kind of file, with an article: "a TensorFlow Lite model".
    pub what: &'static str,
    /// Advice for the user.
    pub advice: &'static str,
}

const fn of(what: &'static str, advice: &'static str) -> Foreign {
    Foreign { what, advice }
}

const ARRAY: Foreign = of("an array of NumPy (.npy)", "name the model; arrays go to --inputs, in an .npz archive");
const ARCHIVE: Foreign = of("an archive of NumPy arrays (.npz)", "name the model; arrays go to --inputs");
const PYTORCH: Foreign = of("a file of PyTorch", "export the network with torch.onnx.export");
const KERAS: Foreign =
    of("a model of Keras", "convert it to ONNX: python -m tf2onnx.convert --keras MODEL --output model.onnx");
const HDF5: Foreign = of("an HDF5 file, perhaps a model of Keras", KERAS.advice);
const ZIP: Foreign = of("a zip archive", "unpack it and name the model in it");
const GRAPH_DEF: Foreign = of(
    "a graph of TensorFlow (GraphDef)",
    "convert it to ONNX: python -m tf2onnx.convert --graphdef FILE --inputs X:0 --outputs Y:0 --output model.onnx",
);
pub(crate) const SAVED_MODEL: Foreign = of(
    "a SavedModel of TensorFlow",
    "convert its folder to ONNX: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
);
const TF_LITE: Foreign =
    of("a TensorFlow Lite model", "convert it to ONNX: python -m tf2onnx.convert --tflite FILE --output model.onnx");
const CAFFE_WEIGHTS: Foreign =
    of("a network with weights of Caffe (.caffemodel)", "convert it to ONNX, with caffe2onnx say");
const CAFFE_TEXT: Foreign = of("a network of Caffe in text form (.prototxt)", CAFFE_WEIGHTS.advice);
const UFF: Foreign = of("a UFF model", "export the network it was made of to ONNX");
const TENSORRT: Foreign = of("an engine of TensorRT", "name the ONNX model that it was built of");
const ORT: Foreign = of("a model in ONNX Runtime's own format (.ort)", "name the ONNX model that it was made of");
const OPENVINO: Foreign = of("a network of OpenVINO in XML", "name the ONNX model that it was made of");
const SAFETENSORS: Foreign = of("weights without a network (safetensors)", "export the network to ONNX");
const GGUF: Foreign = of("a GGUF file", "export the network to ONNX");
const ONNX_TEXT: Foreign = of("an ONNX model in text form", "give it a name that ends in .onnxtxt");

/// Recognises the format of a file or folder by its contents.
pub fn recognise(path: &Path) -> Option<Foreign> {
    if path.is_dir() {
        return path.join("saved_model.pb").is_file().then_some(SAVED_MODEL);
    }
    // Where the importer reads the file as text, its own error names the mistakes.
    recognise_bytes(&map_file(path).ok()?).filter(|foreign| *foreign != ONNX_TEXT || !is_text(path))
}

/// Do the bytes look like an ONNX model in text form?
pub fn is_onnx_text(bytes: &[u8]) -> bool {
    text(bytes) == Some(ONNX_TEXT)
}

/// As [`recognise`], from memory.
pub fn recognise_bytes(bytes: &[u8]) -> Option<Foreign> {
    let at = |position: usize, magic: &[u8]| bytes.get(position..).is_some_and(|rest| rest.starts_with(magic));
    match () {
        () if at(0, b"\x93NUMPY") => Some(ARRAY),
        () if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") => Some(archive(bytes)),
        () if at(0, b"\x89HDF\r\n\x1a\n") => Some(HDF5),
        () if at(4, b"TFL3") => Some(TF_LITE),
        () if at(4, b"ORTM") => Some(ORT),
        () if at(0, b"ftrt") || at(0, b"ptrt") => Some(TENSORRT),
        () if at(0, b"GGUF") => Some(GGUF),
        () if at(8, b"{\"") => Some(SAFETENSORS),
        // The opcode of a pickle's version; no other format starts with it.
        () if at(0, b"\x80") && bytes.get(1).is_some_and(|version| (2..=5).contains(version)) => Some(PYTORCH),
        () => text(bytes).or_else(|| message(bytes)),
    }
}

/// Recognises archives by the names of their files, which archives store uncompressed.
fn archive(bytes: &[u8]) -> Foreign {
    // Only names of the first files count; a match far behind may lie in the contents of a file.
    let start = &bytes[..bytes.len().min(1 << 14)];
    let names = |name: &[u8]| start.windows(name.len()).any(|part| part == name);
    match () {
        () if names(b"data.pkl") => PYTORCH,
        () if names(b".npy") => ARCHIVE,
        () if names(b"model.weights.h5") || names(b"config.json") => KERAS,
        () => ZIP,
    }
}

/// Recognises text formats by the words that open their sections.
fn text(bytes: &[u8]) -> Option<Foreign> {
    let start = &bytes[..bytes.len().min(1 << 16)];
    // The end of the prefix may cut a character in two.
    let valid = std::str::from_utf8(start).map_or_else(|e| &start[..e.valid_up_to()], str::as_bytes);
    if valid.len() + 3 < start.len() || valid.contains(&0) {
        return None;
    }
    let text = String::from_utf8_lossy(valid);
    let opens = |word: &str| {
        let lines = text.lines().map(str::trim_start).filter_map(|line| line.strip_prefix(word));
        lines.into_iter().any(|rest| rest.trim_start().starts_with('{'))
    };
    match () {
        () if text.trim_start().starts_with("<?xml") && text.contains("<net") => Some(OPENVINO),
        () if text.contains("ir_version") && text.contains("opset_import") => Some(ONNX_TEXT),
        () if opens("layer") || opens("layers") => Some(CAFFE_TEXT),
        () if opens("node") && text.contains("op:") => Some(GRAPH_DEF),
        () => None,
    }
}

/// Recognises protobuf messages by the numbers and kinds of their fields.
fn message(bytes: &[u8]) -> Option<Foreign> {
    let fields = Fields(bytes).collect::<Option<Vec<_>>>().filter(|fields| !fields.is_empty())?;
    let only = |allowed: &[(u64, Kind)]| fields.iter().all(|field| allowed.contains(&(field.number, field.kind)));
    let first = |number: u64| fields.iter().find(|field| field.number == number).map(|field| field.bytes);
    use Kind::{Bytes, Number};
    // GraphDef: nodes, versions, library, and the deprecated version.
    if only(&[(1, Bytes), (2, Bytes), (3, Number), (4, Bytes)]) && first(1).is_some_and(is_node_def) {
        return Some(GRAPH_DEF);
    }
    // SavedModel: its version, and graphs with their signatures.
    if only(&[(1, Number), (2, Bytes)]) && first(2).is_some_and(is_meta_graph) {
        return Some(SAVED_MODEL);
    }
    // UFF: two versions, descriptors, graphs, data.
    if only(&[(1, Number), (2, Number), (3, Bytes), (4, Bytes), (5, Bytes)]) && first(4).is_some() {
        return Some(UFF);
    }
    // NetParameter: a name, and layers of the new kind (100) or of the old one (2).
    let layer = first(100).or(first(2))?;
    let is_layer = Fields(layer).flatten().any(|field| field.number <= 4 && field.kind == Bytes);
    let is_name = first(1).is_none_or(|name| std::str::from_utf8(name).is_ok());
    (is_layer && is_name && fields.iter().all(|field| field.number <= 8 || field.number == 100))
        .then_some(CAFFE_WEIGHTS)
}

/// NodeDef: a name, an operator, inputs, a device, attributes.
fn is_node_def(bytes: &[u8]) -> bool {
    let word = |number: u64| {
        let field = Fields(bytes).flatten().find(|field| field.number == number && field.kind == Kind::Bytes);
        field.and_then(|field| std::str::from_utf8(field.bytes).ok())
    };
    let is_operator =
        |text: &str| text.chars().all(|c| c.is_alphanumeric() || "_>-./:".contains(c)) && !text.is_empty();
    word(1).is_some_and(|name| !name.is_empty()) && word(2).is_some_and(is_operator)
}

/// MetaGraphDef: a graph is its second field.
fn is_meta_graph(bytes: &[u8]) -> bool {
    let graph = Fields(bytes).flatten().find(|field| field.number == 2 && field.kind == Kind::Bytes);
    graph.is_some_and(|graph| Fields(graph.bytes).flatten().any(|node| node.number == 1 && is_node_def(node.bytes)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Bytes,
    Fixed,
}

struct Field<'a> {
    number: u64,
    kind: Kind,
    bytes: &'a [u8],
}

/// The fields of a message in order; ends with `None` where the bytes are no field.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let tag = self.number()?;
        let (kind, length) = match tag & 7 {
            0 => {
                self.number()?;
                (Kind::Number, 0)
            }
            1 => (Kind::Fixed, 8),
            2 => (Kind::Bytes, usize::try_from(self.number()?).ok()?),
            5 => (Kind::Fixed, 4),
            _ => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Field { number: tag >> 3, kind, bytes }).filter(|field| field.number > 0)
    }

    /// A number in groups of seven bits, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds bytes.
    fn bytes(number: u64, contents: &[u8]) -> Vec<u8> {
        [varint(number << 3 | 2), varint(contents.len() as u64), contents.to_vec()].concat()
    }

    /// A field that holds a number.
    fn number(number: u64, value: u64) -> Vec<u8> {
        [varint(number << 3), varint(value)].concat()
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn what(bytes: &[u8]) -> &'static str {
        recognise_bytes(bytes).map_or("", |foreign| foreign.what)
    }

    #[test]
    fn messages_are_told_by_their_fields() {
        let node = [bytes(1, b"conv/x"), bytes(2, b"Conv2D"), bytes(3, b"image"), bytes(5, &bytes(1, b"T"))].concat();
        let graph = [bytes(1, &node), bytes(1, &node), bytes(4, &number(1, 24))].concat();
        assert_eq!(what(&graph), GRAPH_DEF.what);
        let saved = [number(1, 1), bytes(2, &[bytes(1, b""), bytes(2, &graph)].concat())].concat();
        assert_eq!(what(&saved), SAVED_MODEL.what);
        let uff =
            [number(1, 1), number(2, 1), bytes(3, &bytes(1, b"tensorflow")), bytes(4, &bytes(1, b"main"))].concat();
        assert_eq!(what(&uff), UFF.what);
        let layer = [bytes(1, b"conv1"), bytes(2, b"Convolution"), bytes(7, &[0; 200])].concat();
        assert_eq!(what(&[bytes(1, b"CaffeNet"), bytes(100, &layer)].concat()), CAFFE_WEIGHTS.what);
        assert_eq!(what(&[bytes(1, b"CaffeNet"), bytes(2, &bytes(4, b"conv1"))].concat()), CAFFE_WEIGHTS.what);
        // ONNX: versions, a producer, a graph.
        let onnx =
            [number(1, 8), bytes(2, b"pytorch"), bytes(7, &bytes(2, b"main")), bytes(8, &number(2, 17))].concat();
        assert_eq!(what(&onnx), "");
        assert_eq!(what(&onnx[..onnx.len() - 1]), "");
    }

    #[test]
    fn files_are_told_by_how_they_start() {
        for (start, found) in [
            (&b"\x93NUMPY\x01\x00"[..], ARRAY),
            (b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0x.npy", ARCHIVE),
            (b"PK\x03\x04........archive/data.pkl", PYTORCH),
            (b"PK\x03\x04........model.weights.h5", KERAS),
            (b"PK\x03\x04........holiday.jpg", ZIP),
            (b"\x89HDF\r\n\x1a\n", HDF5),
            (b"\x1c\0\0\0TFL3", TF_LITE),
            (b"\x20\0\0\0ORTM", ORT),
            (b"ftrt\0\0", TENSORRT),
            (b"GGUF\x03", GGUF),
            (b"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\"", SAFETENSORS),
            (b"\x80\x02}q\0.", PYTORCH),
            (b"<?xml version=\"1.0\"?>\n<net name=\"x\">", OPENVINO),
            (b"name: \"CaffeNet\"\n# data\nlayer {\n  name: \"conv1\"\n}", CAFFE_TEXT),
            (b"layers { type: CONVOLUTION }", CAFFE_TEXT),
            (b"node {\n  name: \"x\"\n  op: \"Placeholder\"\n}", GRAPH_DEF),
            (b"ir_version: 8\nopset_import { version: 17 }\n", ONNX_TEXT),
        ] {
            assert_eq!(what(start), found.what);
        }
        for other in [&b""[..], b"hello", b"\0\0\0\0", &[0xA5; 99], &[0xFF; 20], b"PK"] {
            assert_eq!(what(other), "", "{other:?}");
        }
    }

    #[test]
    fn damaged_messages_are_nothing() {
        let node = [bytes(1, b"x"), bytes(2, b"Conv2D")].concat();
        let graph = [bytes(1, &node), bytes(4, &number(1, 24))].concat();
        for end in 0..graph.len() {
            recognise_bytes(&graph[..end]);
        }
        assert_eq!(what(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]), "");
    }
}
