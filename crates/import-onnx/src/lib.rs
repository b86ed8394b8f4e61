//! Layer 3: the importer of ONNX models.
//!
//! [`table`] is THE list: (domain, operator, first version) to an import function in `ops/`. The importer collects
//! problems: it reports all of them at once, with node, operator, version and reason.
//!
//! This crate does not depend on passes, devices or kernels. Model files are untrusted: the importer never panics on
//! them, and never allocates memory because of a size field alone.
#![deny(clippy::unwrap_used, clippy::as_conversions, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may panic"))]

pub mod context;
pub mod decode;
pub mod error;
pub mod external;
pub mod graph;
mod inlining;
mod names;
pub mod ops;
pub mod sort;
pub mod table;
pub mod tensor;
pub mod test_data;
pub mod types;

#[allow(
    missing_docs,
    clippy::all,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "generated from the wire layout"
)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

pub use error::{ImportError, Problem};
pub use graph::{ImportOptions, import_file, import_model};
