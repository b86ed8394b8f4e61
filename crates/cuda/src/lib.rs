//! Layer 3: the back end of NVIDIA GPUs.
//!
//! [`driver`] holds all foreign functions. A family of kernels is a folder, whose `mod.rs` is its tactic table; the CUDA C++
//! text of a kernel stands beside the Rust file with the same stem, which computes the geometry of its launches. A build
//! compiles a kernel for each configuration, most often of types, and never for shapes; a run needs the driver only.
//!
//! Most kernels are a text and a function that launches it (`text_kernel.rs`; `index/range.rs` is the smallest example).
//! `include/` holds what texts share.
//!
//! A kernel sees one region at a time, never a network. No kernel calls the reference, because the reference verifies
//! the kernels.

pub mod back_end;
pub mod blocks;
pub mod code;
pub mod compile;
pub mod driver;
mod dynamic;
pub mod epilogue;
pub mod fused;
pub mod kernel;
mod lines;
pub mod machine;
pub mod selection;
mod sink;
pub mod space;
pub mod stream;
pub mod tactic;
pub mod target;
mod text_kernel;
pub mod types;
pub mod windows;

pub mod attention;
pub mod conv;
pub mod detection;
pub mod image;
pub mod index;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod pointwise;
pub mod pool;
pub mod quantize;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod signal;

pub use back_end::Cuda;
