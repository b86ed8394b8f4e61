//! Modules for the tools of this repository: the crates below, the list of back ends, files of models and of values.
//!
//! They follow no promise of stability: any version may change them. The program `sinter` uses them, and so does a crate
//! that implements a back end or an importer, until plugins have an interface of their own.

pub mod foreign;
pub mod memory;
pub mod source;
pub mod values;

/// The back ends of this build.
pub mod backends {
    pub use crate::backends::{BACK_ENDS, by_name, default, split_device};
}

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
