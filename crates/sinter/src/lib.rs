//! Floor 4: Sinter's public interface.
//!
//! A model comes in through [`import_onnx`], [`passes`] make it better whatever the machine, [`builder`] makes a plan of it
//! for one of the [`backends`], [`runtime`] runs the plan; [`interp`] is the judge that results are held against.
//!
//! ```no_run
//! use sinter::{backends, builder, import_onnx, passes, runtime};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = import_onnx::import_file("model.onnx".as_ref(), &Default::default())?;
//! let network = passes::optimize(network, Default::default())?.network;
//! let plan = builder::build(&network, backends::default(), Default::default())?.plan;
//! let engine = runtime::Engine::from_plan(plan, backends::BACK_ENDS, 2)?;
//! let input = sinter::base::Tensor::from_vec(&[1, 2], vec![0.5f32, 1.0])?;
//! let outputs = engine.run(vec![("x".to_owned(), input.into())])?;
//! # Ok(())
//! # }
//! ```
//!
//! Holds no algorithm of its own: only the list of back ends, files of values, and the bound on memory.

pub mod backends;
pub mod foreign;
pub mod memory;
pub mod source;
pub mod values;

pub use sinter_backend as backend;
pub use sinter_base as base;
pub use sinter_builder as builder;
pub use sinter_cpu as cpu;
pub use sinter_import_onnx as import_onnx;
pub use sinter_interp as interp;
pub use sinter_ir as ir;
pub use sinter_ops as ops;
pub use sinter_passes as passes;
pub use sinter_plan as plan;
pub use sinter_runtime as runtime;
pub use sinter_tensor_io as tensor_io;
