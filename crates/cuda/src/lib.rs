//! Layer 3: the back end of NVIDIA GPUs.
//!
//! [`driver`] holds all foreign functions. A family of kernels is a folder, whose `mod.rs` is its tactic table; the CUDA C++
//! text of a kernel stands beside the Rust file with the same stem, which computes the geometry of its launches. A build
//! compiles a kernel for each configuration, most often of types, and never for shapes; a run needs the driver only.
//!
//! A kernel sees one region at a time, never a network. No kernel calls the reference, because the reference verifies
//! the kernels.

pub mod back_end;
pub mod blocks;
pub mod code;
pub mod compile;
pub mod driver;
pub mod epilogue;
pub mod kernel;
pub mod machine;
pub mod selection;
pub mod space;
pub mod stream;
pub mod tactic;
pub mod target;
pub mod types;
pub mod windows;

pub mod conv;
pub mod index;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod pointwise;
pub mod pool;
pub mod reduce;

pub use back_end::Cuda;
