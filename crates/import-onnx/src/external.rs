//! External data: tensors whose bytes lie in other files beneath the model's folder.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use sinter_base::mapping::map_file;

use crate::proto::TensorProto;

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
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
        let location = entry("location").ok_or("its external data has no location")?;
        let number = |key: &str| -> Result<Option<usize>, String> {
            entry(key)
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
