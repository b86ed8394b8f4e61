//! The product that matrix multiplication and convolution share: rows of memory times packed panels.
//!
//! `panel.rs` is the packed form of the right operand, `tile.rs` the microkernels, `rows.rs` the loops around them,
//! `epilogue.rs` the work on a finished tile while it is still in the cache, `batched.rs` batched sibling products of
//! the same rows, `gated.rs` two that meet in a program. `wide.rs` is the product with one row only.

pub mod batched;
pub mod blocks;
pub mod epilogue;
pub mod gated;
pub mod panel;
pub mod rows;
pub mod tile;
pub mod wide;
