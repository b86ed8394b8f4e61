//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod constant;
pub mod conv;
pub mod elementwise;
pub mod formula;
pub mod image;
pub mod matmul;
pub mod norm;
pub mod pool;
pub mod reshape;
