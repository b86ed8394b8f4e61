//! The registry: the back ends and importers that a model, a build and an engine may use.

use std::fmt;
use std::sync::Arc;

use sinter_backend::BackEnd;
use sinter_import_onnx::ImportOptions;
use sinter_ir::Network;

use crate::backends::{BACK_ENDS, split_device};
use crate::error::Error;
use crate::importers::{ModelSource, built_in};

/// Reads models of one format.
///
/// An importer turns a file into a network of the operator catalog and reports all problems of a model at once, as
/// [`crate::errors::ImportError::Model`]. It must not panic, whatever the file holds. A network is made with
/// `sinter::internals::ir::NetworkBuilder`, which is not a stable interface yet.
pub trait Importer: Send + Sync {
    /// Name of the format, such as `onnx`; one registry has one importer of a name.
    fn format(&self) -> &str;

    /// Is the model of this format? The contents decide, not the name of the file.
    fn recognises(&self, source: &ModelSource) -> bool;

    /// Reads the model.
    ///
    /// # Errors
    /// When the file cannot be read, or with all problems of the model at once.
    fn import(&self, source: &ModelSource, options: &ImportOptions) -> Result<Network, Error>;
}

/// The back ends and importers that a model, a build and an engine may use.
///
/// [`Registry::default`] holds the built-in ones: the back end `cpu` and the importer `onnx`. An additional back end or
/// importer goes into a registry, and the registry goes into [`crate::Model::open_with`], [`crate::Builder::registry`]
/// and [`crate::Engine::open_with`]: nothing is registered for the whole process.
///
/// ```
/// # use std::sync::Arc;
/// use sinter::internals::base::{DataType, Dim, ValueType};
/// use sinter::internals::ir::{Network, NetworkBuilder};
/// use sinter::{Engine, Error, ImportOptions, Importer, Model, ModelSource, Registry, Tensor};
///
/// /// Models that are the word `identity` and a number of elements.
/// struct Identity;
///
/// impl Importer for Identity {
///     fn format(&self) -> &str {
///         "identity"
///     }
///
///     fn recognises(&self, source: &ModelSource) -> bool {
///         source.bytes().is_ok_and(|bytes| bytes.starts_with(b"identity"))
///     }
///
///     fn import(&self, source: &ModelSource, _: &ImportOptions) -> Result<Network, Error> {
///         let size: i64 = source.bytes()?.len() as i64 - 8;
///         let mut network = NetworkBuilder::new();
///         let ty = ValueType::tensor(DataType::F32, vec![Dim::constant(size)]);
///         let x = network.add_network_input("x", ty, None);
///         Ok(network.finish("identity", &[("y".to_owned(), x)]))
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let mut registry = Registry::default();
/// registry.add_importer(Arc::new(Identity))?;
/// let model = Model::from_bytes_with("identity..", &ImportOptions::default(), &registry)?;
/// let engine = Engine::from_plan(sinter::Builder::new(&model).build()?)?;
/// let x = Tensor::from_vec(&[2], vec![1.0f32, 2.0])?;
/// assert_eq!(engine.run([("x", x.clone())])?, [x.into()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Registry {
    built_in: &'static [&'static dyn BackEnd],
    back_ends: Vec<Arc<dyn BackEnd>>,
    /// In place of back ends of their names.
    selected: Vec<Arc<dyn BackEnd>>,
    importers: Vec<Arc<dyn Importer>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { built_in: BACK_ENDS, back_ends: Vec::new(), selected: Vec::new(), importers: built_in() }
    }
}

impl Registry {
    /// Adds a back end; `sinter::internals::backend::BackEnd` is its interface, which is not stable yet.
    ///
    /// # Errors
    /// When the registry has a back end of this name: plans name their back end.
    pub fn add_back_end(&mut self, back_end: Arc<dyn BackEnd>) -> Result<&mut Self, Error> {
        let name = back_end.name();
        if self.back_ends().any(|known| known.name() == name) {
            return Err(Error::options(
                format!("the registry has a back end '{name}' already"),
                "give the back end another name, or add it once",
            ));
        }
        self.back_ends.push(back_end);
        Ok(self)
    }

    /// Chooses the device that plans are built for and run on: `cuda:1` is the second GPU, `cuda:sm_90a` any GPU of this kind,
    /// for which plans are only built. See [`Builder::device`](crate::Builder::device).
    ///
    /// # Errors
    /// When there is no such back end or no such device.
    pub fn select(&mut self, device: &str) -> Result<&mut Self, Error> {
        let (name, device) = split_device(device);
        let back_end = self.back_end(name)?;
        if let Some(device) = device {
            let selected = back_end.selected(device);
            let selected = selected.map_err(|e| Error::options(e.to_string(), "`sinter doctor` lists the devices"))?;
            self.selected.retain(|known| known.name() != selected.name());
            self.selected.push(selected);
        }
        Ok(self)
    }

    /// Adds an importer. The registry queries the last one first, and ONNX, which has no signature, last.
    ///
    /// # Errors
    /// When the registry has an importer of this format.
    pub fn add_importer(&mut self, importer: Arc<dyn Importer>) -> Result<&mut Self, Error> {
        let format = importer.format();
        if self.importers().any(|known| known.format() == format) {
            return Err(Error::options(
                format!("the registry has an importer of '{format}' already"),
                "give the format another name, or add the importer once",
            ));
        }
        self.importers.insert(0, importer);
        Ok(self)
    }

    /// The back ends, the default one first.
    pub fn back_ends(&self) -> impl Iterator<Item = &dyn BackEnd> {
        let all = self.built_in.iter().copied().chain(self.back_ends.iter().map(|back_end| &**back_end));
        all.map(|back_end| {
            let selected = self.selected.iter().find(|selected| selected.name() == back_end.name());
            selected.map_or(back_end, |selected| &**selected)
        })
    }

    /// The importers, in the order in which the registry queries them.
    pub fn importers(&self) -> impl Iterator<Item = &dyn Importer> {
        self.importers.iter().map(|importer| &**importer)
    }

    /// The back end of this name.
    ///
    /// # Errors
    /// When there is none; the error lists the names.
    pub(crate) fn back_end(&self, name: &str) -> Result<&dyn BackEnd, Error> {
        self.back_ends().find(|back_end| back_end.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.back_ends().map(BackEnd::name).collect();
            Error::options(format!("there is no back end '{name}'"), format!("the back ends are {}", known.join(", ")))
        })
    }

    /// The importer that recognises the model.
    ///
    /// # Errors
    /// When none does.
    pub(crate) fn importer_of(&self, source: &ModelSource) -> Result<Arc<dyn Importer>, Error> {
        let found = self.importers.iter().find(|importer| importer.recognises(source));
        found.cloned().ok_or_else(|| Error::Foreign {
            path: source.path().map(ToOwned::to_owned),
            what: "a file of an unknown format",
            help: "add an importer of its format to the registry",
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("back_ends", &self.back_ends().map(BackEnd::name).collect::<Vec<_>>())
            .field("importers", &self.importers().map(Importer::format).collect::<Vec<_>>())
            .finish()
    }
}
