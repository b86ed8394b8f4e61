//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod attention;
pub mod carried;
pub mod classical;
pub mod classifiers;
pub mod constant;
pub mod control;
pub mod conv;
pub mod detection;
pub mod elementwise;
pub mod expressions;
pub mod host;
pub mod index;
pub mod matmul;
pub mod microsoft_attention;
pub mod movement;
pub mod padding;
pub mod recurrent;
pub mod reduce;
pub mod reshape;
pub mod sequence;
pub mod sizes;
pub mod trees;
