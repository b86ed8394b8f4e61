//! Matrix products.

pub mod matmul;

pub use self::matmul::MatMul;
