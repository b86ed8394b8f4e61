//! Models, opened.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sinter_base::Dim;
use sinter_import_onnx::ImportOptions;
use sinter_ir::Network;
use sinter_plan::is_plan;

use crate::error::Error;
use crate::importers::ModelSource;
use crate::internals::source::{network_inputs, network_outputs};
use crate::port::Port;
use crate::registry::{Importer, Registry};

/// A trained network as its author wrote it.
///
/// Opening reads the graph, infers the types of all values and reports all problems of the model at once. Weights stay in
/// the mapped file until a build needs them.
///
/// ```
/// # fn main() -> Result<(), sinter::Error> {
/// // y = relu(x) for x of f32[N, 3], in the text form of ONNX.
/// let model = sinter::Model::from_onnx_bytes(
///     r#"
///     ir_version: 8
///     opset_import { version: 17 }
///     graph {
///       name: "example"
///       node { op_type: "Relu" input: "x" output: "y" }
///       input {
///         name: "x"
///         type { tensor_type { elem_type: 1 shape { dim { dim_param: "N" } dim { dim_value: 3 } } } }
///       }
///       output { name: "y" type { tensor_type { elem_type: 1 } } }
///     }"#,
/// )?;
/// assert_eq!(model.inputs()[0].to_string(), "x: f32[N, 3]");
/// assert_eq!(model.outputs()[0].to_string(), "y: f32[N, 3]");
/// # Ok(())
/// # }
/// ```
pub struct Model {
    network: Network,
    source: ModelSource,
    importer: Arc<dyn Importer>,
    options: ImportOptions,
}

impl Model {
    /// Opens a model file; its contents tell the format.
    ///
    /// # Errors
    /// [`Error::Import`] with all problems of the model, or [`Error::Foreign`] for a file that no importer reads.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &ImportOptions::default(), &Registry::default())
    }

    /// As [`Model::open`], with options and the importers of a registry.
    ///
    /// [`ImportOptions::shapes`] pins the sizes of inputs: `[8, 3, 224, 224]` for the input `image`, say.
    /// [`ImportOptions::runtime_inputs`] names initializers that stay inputs.
    ///
    /// # Errors
    /// As [`Model::open`], and when shapes do not fit the inputs.
    pub fn open_with(path: impl AsRef<Path>, options: &ImportOptions, registry: &Registry) -> Result<Self, Error> {
        let path = path.as_ref();
        if is_plan(path) {
            let (what, help) = ("a plan", "run it with `Engine::open`");
            return Err(Error::Foreign { path: Some(path.to_owned()), what, help });
        }
        Self::import(ModelSource::Path(path.to_owned()), options, registry)
    }

    /// An ONNX model in memory, binary or text. The importer cannot find weights in files beside the model.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_onnx_bytes(bytes: impl Into<Bytes>) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &ImportOptions::default(), &Registry::default())
    }

    /// A model in memory, of any format that the registry has an importer of.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_bytes_with(
        bytes: impl Into<Bytes>,
        options: &ImportOptions,
        registry: &Registry,
    ) -> Result<Self, Error> {
        Self::import(ModelSource::Bytes(bytes.into()), options, registry)
    }

    fn import(source: ModelSource, options: &ImportOptions, registry: &Registry) -> Result<Self, Error> {
        let importer = registry.importer_of(&source)?;
        let network = importer.import(&source, options)?;
        Ok(Self { network, source, importer, options: options.clone() })
    }

    /// The name that the model gives itself.
    pub fn name(&self) -> &str {
        &self.network.name
    }

    /// Name of the format that the model was read from, such as `onnx`.
    pub fn format(&self) -> &str {
        self.importer.format()
    }

    /// The inputs in order. A dimension with a name is dynamic: [`crate::Builder`] can pin or bound it by this name.
    pub fn inputs(&self) -> Vec<Port> {
        network_inputs(&self.network)
    }

    /// The outputs in order.
    pub fn outputs(&self) -> Vec<Port> {
        network_outputs(&self.network)
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The network with dynamic dimensions as constants; `None` when no input has only such dimensions and constants, so
    /// that the importer cannot pin one of them.
    ///
    /// # Errors
    /// When the model contradicts the sizes.
    pub(crate) fn pinned(&self, sizes: &BTreeMap<String, i64>) -> Result<Option<Network>, Error> {
        let size = |dim: &Dim| {
            let size = dim.as_constant().or_else(|| sizes.get(dim.as_symbol()?).copied())?;
            usize::try_from(size).ok()
        };
        let mut options = self.options.clone();
        let mut is_pinned = false;
        for port in self.inputs() {
            let Some(dims) = port.dims() else { continue };
            let Some(shape) = dims.iter().map(size).collect::<Option<Vec<usize>>>() else { continue };
            is_pinned |= dims.iter().any(|dim| dim.as_constant().is_none());
            options.shapes.insert(port.name, shape);
        }
        if !is_pinned {
            return Ok(None);
        }
        self.importer.import(&self.source, &options).map(Some)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name())
            .field("format", &self.format())
            .field("inputs", &self.inputs())
            .field("outputs", &self.outputs())
            .finish()
    }
}
