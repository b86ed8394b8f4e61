//! Import functions, by family. Each file names the ONNX operators that it imports and their versions.

pub mod constant;
pub mod conv;
pub mod elementwise;
pub mod expressions;
pub mod fused;
pub mod image;
pub mod index;
pub mod linear_algebra;
pub mod losses;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod padding;
pub mod pool;
pub mod quantize;
pub mod quantized;
pub mod random;
pub mod reduce;
pub mod reshape;
pub mod signal;
pub mod sizes;
pub mod training;
