//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod attention;
pub mod carried;
pub mod classical;
pub mod constant;
pub mod control;
pub mod conv;
pub mod detection;
pub mod elementwise;
pub mod host;
pub mod matmul;
pub mod recurrent;
pub mod reshape;
pub mod sequence;
pub mod trees;
