//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod constant;
pub mod conv;
pub mod elementwise;
pub mod matmul;
pub mod reshape;

// Movement, indexing, reductions, linear algebra, random, signal, and what they share.
pub mod expressions;
pub mod index;
pub mod linear_algebra;
pub mod losses;
pub mod movement;
pub mod padding;
pub mod random;
pub mod reduce;
pub mod signal;
pub mod sizes;
pub mod training;
