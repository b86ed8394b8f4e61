//! Layer 3: named tensors in files of users and other programs: NumPy's `.npz`.
//!
//! Types that NumPy does not have (bf16, fp8, sub-byte integers) travel as raw bits, one element per byte below eight
//! bits. The reader refuses object arrays: they are programs, not data. Files are untrusted: the reader never allocates
//! memory because of a size field alone. The writer replaces files atomically.
//!
//! This crate does not depend on networks or operators.
#![deny(clippy::unwrap_used, clippy::as_conversions, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may panic"))]

pub mod array;
mod header;
pub mod npz;

pub use array::RawArray;
pub use npz::{NpzError, parse_npz, read_npz, write_npz};
