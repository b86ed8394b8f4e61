//! Floor 3: named tensors in files that users and other programs make: NumPy's `.npz`.
//!
//! Types that NumPy does not have (bf16, fp8, sub-byte integers) travel as raw bits, one element per byte below eight
//! bits. Object arrays are refused: they are programs, not data. Files are hostile until proven otherwise: nothing is
//! allocated on the word of a size field alone. What is written appears whole or not at all.
//!
//! Does not know networks or operators.
#![deny(clippy::unwrap_used, clippy::as_conversions, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may panic"))]

pub mod array;
mod header;
pub mod npz;

pub use array::RawArray;
pub use npz::{NpzError, parse_npz, read_npz, write_npz};
