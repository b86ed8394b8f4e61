//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod conv;
pub mod elementwise;
pub mod expressions;
pub mod index;
pub mod matmul;
pub mod movement;
pub mod padding;
pub mod reduce;
pub mod reshape;
pub mod sizes;
