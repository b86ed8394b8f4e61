//! External data: tensors whose bytes lie in other files beneath the model's folder.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use sinter_base::mapping::map_file;

use crate::decode::decode_file;
use crate::proto::{GraphProto, NodeProto, SparseTensorProto, TensorProto};

/// Files with external data of a model; empty if the file is no model.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let Ok(model) = decode_file(path) else { return Vec::new() };
    let mut locations = BTreeSet::new();
    model.graph.iter().for_each(|graph| locations_in(graph, &mut locations));
    model.functions.iter().flat_map(|function| &function.node).for_each(|node| locations_of(node, &mut locations));
    let folder = path.parent().unwrap_or(Path::new(""));
    locations.into_iter().map(|location| folder.join(location)).collect()
}

fn locations_in<'a>(graph: &'a GraphProto, found: &mut BTreeSet<&'a str>) {
    let sparse = graph.sparse_initializer.iter().flat_map(parts);
    found.extend(graph.initializer.iter().chain(sparse).filter_map(location));
    graph.node.iter().for_each(|node| locations_of(node, found));
}

fn locations_of<'a>(node: &'a NodeProto, found: &mut BTreeSet<&'a str>) {
    for attribute in &node.attribute {
        let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).flat_map(parts);
        found.extend(attribute.t.iter().chain(&attribute.tensors).chain(sparse).filter_map(location));
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| locations_in(graph, found));
    }
}

fn parts(sparse: &SparseTensorProto) -> impl Iterator<Item = &TensorProto> {
    sparse.values.iter().chain(&sparse.indices)
}

fn location(tensor: &TensorProto) -> Option<&str> {
    entry(tensor, "location")
}

/// One entry of the external data of a tensor.
fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value())
}

/// Maps the external files of one model, each once.
#[derive(Debug, Default)]
pub struct ExternalData {
    folder: Option<PathBuf>,
    files: HashMap<PathBuf, Bytes>,
}

impl ExternalData {
    /// Files beneath this folder. Without a folder (a model in memory) external data is refused.
    pub fn beneath(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_owned), files: HashMap::new() }
    }

    /// The bytes that a tensor declares.
    ///
    /// # Errors
    /// When the path leaves the folder, the file is missing, or the range lies outside it.
    pub fn bytes_of(&mut self, tensor: &TensorProto, expected: usize) -> Result<Bytes, String> {
        let location = location(tensor).ok_or("its external data has no location")?;
        let number = |key: &str| -> Result<Option<usize>, String> {
            entry(tensor, key)
                .map(|v| v.parse::<usize>().map_err(|_| format!("its external data has {key} '{v}', not a byte count")))
                .transpose()
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(expected);
        if length != expected {
            return Err(format!("its external data has {length} bytes, its type needs {expected}"));
        }
        let file = self.open(location)?;
        let end = offset.checked_add(length).filter(|&end| end <= file.len());
        let end = end.ok_or_else(|| {
            format!("bytes {offset} to {offset}+{length} lie outside '{location}', which has {}", file.len())
        })?;
        Ok(file.slice(offset..end))
    }

    fn open(&mut self, location: &str) -> Result<Bytes, String> {
        let folder = self.folder.as_ref().ok_or("external data needs the model to be a file")?;
        let relative = Path::new(location);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || location.is_empty() {
            return Err(format!("external data '{location}' is not beneath the model's folder"));
        }
        let path = folder.join(relative);
        if let Some(known) = self.files.get(&path) {
            return Ok(known.clone());
        }
        // A link inside the folder must not lead out of it either.
        let resolve = |p: &Path| p.canonicalize().map_err(|e| format!("external data '{}': {e}", p.display()));
        if !resolve(&path)?.starts_with(resolve(folder)?) {
            return Err(format!("external data '{location}' is a link that leaves the model's folder"));
        }
        let bytes = map_file(&path).map_err(|e| format!("external data '{}': {e}", path.display()))?;
        self.files.insert(path, bytes.clone());
        Ok(bytes)
    }
}
