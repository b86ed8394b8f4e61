//! Matrix products and what is made of them.

pub mod determinant;
pub mod einsum;
pub mod matmul;

pub use self::determinant::Determinant;
pub use self::einsum::Einsum;
pub use self::matmul::MatMul;
