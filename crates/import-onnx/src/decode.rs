//! Bytes to protobuf messages: binary by prost, text by prost-reflect.

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use sinter_base::mapping::map_file;

use crate::error::ImportError;
use crate::proto::ModelProto;

/// Longest text model; a text model carries its weights as text and is meant for small ones.
const MAX_TEXT_BYTES: usize = 256 << 20;

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/onnx.descriptors")).as_slice()).ok()
});

/// Maps and decodes a model file. Weights stay in the mapping.
///
/// # Errors
/// When the file cannot be opened or is no ONNX model.
pub fn decode_file(path: &Path) -> Result<ModelProto, ImportError> {
    let bytes = map_file(path).map_err(|source| ImportError::Open { path: path.to_owned(), source })?;
    let decoded = if is_text(path) { decode_text(&bytes) } else { decode_binary(bytes) };
    decoded.map_err(|reason| ImportError::Decode { path: path.to_owned(), reason })
}

/// Is a file of this name read as text?
pub fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["onnxtxt", "txt", "textproto", "prototxt", "pbtxt"].iter().any(|t| e == *t))
}

/// Decodes a binary model. Byte fields share `bytes`.
///
/// # Errors
/// The reason as text.
pub fn decode_binary(bytes: Bytes) -> Result<ModelProto, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let model = ModelProto::decode(bytes).map_err(|e| e.to_string())?;
    if model.graph.is_none() && model.opset_import.is_empty() && model.ir_version.is_none() {
        return Err("it has neither graph nor version".to_owned());
    }
    Ok(model)
}

/// Decodes a model in protobuf's text format.
///
/// # Errors
/// The reason as text.
pub fn decode_text(bytes: &[u8]) -> Result<ModelProto, String> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(format!("a text model may have {MAX_TEXT_BYTES} bytes, this one has {}", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let descriptor = DESCRIPTORS
        .as_ref()
        .and_then(|pool| pool.get_message_by_name("onnx.ModelProto"))
        .ok_or("the descriptor of the format is missing from this program")?;
    let message = DynamicMessage::parse_text_format(descriptor, text).map_err(|e| e.to_string())?;
    message.transcode_to::<ModelProto>().map_err(|e| e.to_string())
}
