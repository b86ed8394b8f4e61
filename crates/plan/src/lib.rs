//! Floor 2: the plan file.
//!
//! A header, a table of sections, sections: metadata (protobuf), weights (raw, page-aligned). Data only: no host code, no
//! time, no path, no host name. Every offset and size is checked, every section carries its BLAKE3 hash.
//!
//! Does not know networks, passes or kernels; steps name kernels of a back end.
#![deny(clippy::unwrap_used, clippy::as_conversions, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::as_conversions, clippy::panic, reason = "tests may panic"))]

pub mod shape_program;

pub use shape_program::{Register, ShapeCompiler, ShapeError, ShapeProgram, Slot};
