//! Layer 3: the x86-64 back end.
//!
//! Kernels are sorted by family; the `mod.rs` of a family is its tactic table, best first. [`launch`] gives kernels
//! their memory, [`team`] the threads that they share, and [`tier`] the instruction sets; `SINTER_CPU` forces a tier.
//!
//! A kernel sees one region at a time, never a network. No kernel calls the reference, because the reference verifies
//! the kernels.

pub mod arguments;
pub mod back_end;
pub mod by_width;
pub mod elements;
pub mod float;
pub mod fused;
pub mod launch;
#[cfg(all(test, target_arch = "x86_64"))]
mod machine_code;
pub mod number;
pub mod packed;
pub mod share;
pub mod single_thread;
pub mod tactic;
pub mod target;
pub mod team;
pub mod tier;
pub mod values;
pub mod window;

pub mod attention;
pub mod conv;
pub mod detection;
pub mod host;
pub mod image;
pub mod index;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod pointwise;
pub mod pool;
pub mod product;
pub mod quantize;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod sequence;
pub mod signal;

pub use back_end::Cpu;
pub use team::Team;
pub use tier::Tier;
