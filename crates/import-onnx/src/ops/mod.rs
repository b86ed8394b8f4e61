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
pub mod matmul;
pub mod reshape;

// Movement, indexing, reductions, linear algebra, random, signal, and what they share.
pub mod expressions;
pub mod fused;
pub mod host;
pub mod image;
pub mod index;
pub mod linear_algebra;
pub mod losses;
pub mod microsoft_attention;
pub mod movement;
pub mod norm;
pub mod padding;
pub mod pool;
pub mod quantize;
pub mod quantized;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod sequence;
pub mod signal;
pub mod sizes;
pub mod training;
pub mod trees;
