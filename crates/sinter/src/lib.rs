//! Sinter turns a trained neural network into the fastest engine for the machine that it runs on.
//!
//! [`Model`] opens a network, [`Builder`] makes a [`Plan`] of it, an [`Engine`] runs the plan:
//!
//! ```
//! use sinter::{Builder, Engine, Model, Tensor};
//!
//! # fn main() -> Result<(), sinter::Error> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let plan_path = folder.path().join("residual.plan");
//! # let model_path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt");
//! let model = Model::open(model_path)?;
//! Builder::new(&model).threads(2).build()?.save(&plan_path)?;
//!
//! let engine = Engine::open(&plan_path)?;
//! let x = Tensor::from_vec(&[2, 3], vec![-1.0f32, 0.0, 1.0, 2.0, 3.0, 4.0])?;
//! let outputs = engine.run([("x", x)])?;
//! assert_eq!(engine.outputs()[0].name, "y");
//! assert_eq!(outputs.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`guide`] shows dynamic shapes, memory of the caller, contexts in several threads, progress and errors. A [`Registry`]
//! holds back ends and importers: it is the one argument by which other code adds its own.
//!
//! This crate has no algorithm of its own. The crates below it are no public interface.

mod backends;
mod builder;
mod engine;
mod error;
pub mod errors;
pub mod guide;
mod importers;
#[doc(hidden)]
pub mod internals;
mod model;
mod plan;
mod port;
mod registry;

pub use builder::Builder;
pub use engine::Engine;
pub use error::Error;
pub use importers::ModelSource;
pub use model::Model;
pub use plan::{Plan, PrecisionSummary, Summary};
pub use port::Port;
pub use registry::{Importer, Registry};

pub use sinter_base::{DataType, Dim, Element, HostMemory, Shape, Tensor, TensorType, Value, ValueType, View, ViewMut};
pub use sinter_builder::{Precision, Stage, TapSource};
pub use sinter_import_onnx::ImportOptions;
pub use sinter_runtime::{Bindings, Context, EngineOptions};

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
