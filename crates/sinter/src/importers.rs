//! THE list of importers, and the models that they read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sinter_base::mapping::map_file;
use sinter_import_onnx::decode::{decode_binary, decode_text};
use sinter_import_onnx::{ImportError, ImportOptions, import_model};
use sinter_ir::Network;

use crate::error::Error;
use crate::internals::foreign::{is_onnx_text, recognise_bytes};
use crate::internals::source::{SourceError, import};
use crate::registry::Importer;

/// The built-in importers, in the order in which the registry queries them.
pub(crate) fn built_in() -> Vec<Arc<dyn Importer>> {
    vec![Arc::new(Onnx)]
}

/// A model before it is read.
#[derive(Clone, Debug)]
pub enum ModelSource {
    /// A file, or the folder of a format that has folders.
    Path(PathBuf),
    /// The bytes of a file.
    Bytes(Bytes),
}

impl ModelSource {
    /// The file; `None` for bytes.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Bytes(_) => None,
        }
    }

    /// The bytes; those of a file are mapped, not read.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn bytes(&self) -> Result<Bytes, Error> {
        match self {
            Self::Path(path) => map_file(path).map_err(|source| Error::Import {
                path: Some(path.clone()),
                source: ImportError::Open { path: path.clone(), source },
            }),
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }
}

/// ONNX, binary and text. Files of ONNX have no signature, so this importer accepts every model. It inspects a file that it
/// cannot decode once more, to name the file's format in the error.
struct Onnx;

impl Importer for Onnx {
    fn format(&self) -> &str {
        "onnx"
    }

    fn recognises(&self, _: &ModelSource) -> bool {
        true
    }

    fn import(&self, source: &ModelSource, options: &ImportOptions) -> Result<Network, Error> {
        let at = |source: ImportError, path: Option<&Path>| Error::Import { path: path.map(Path::to_owned), source };
        match source {
            ModelSource::Path(path) => import(path, options).map_err(|error| match error {
                SourceError::Model(source) => at(source, Some(path)),
                SourceError::Foreign(foreign) => Error::foreign(Some(path), foreign),
                SourceError::Plan(source) => Error::Plan { path: Some(path.clone()), source },
            }),
            ModelSource::Bytes(bytes) => {
                let decoded = if is_onnx_text(bytes) { decode_text(bytes) } else { decode_binary(bytes.clone()) };
                let model =
                    decoded.map_err(|reason| match recognise_bytes(bytes).filter(|_| !is_onnx_text(bytes)) {
                        Some(foreign) => Error::foreign(None, foreign),
                        None => at(ImportError::Decode { path: "the model in memory".into(), reason }, None),
                    })?;
                // Bytes have no folder: external data of such a model is a problem that the importer reports.
                import_model(&model, None, options).map_err(|source| at(source, None))
            }
        }
    }
}
