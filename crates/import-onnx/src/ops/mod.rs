//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod carried;
pub mod control;
pub mod constant;
pub mod conv;
pub mod elementwise;
pub mod matmul;
pub mod recurrent;
pub mod reshape;
pub mod sequence;
