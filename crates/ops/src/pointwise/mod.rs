//! All elementwise work: one operator over a small program of scalar operations.

pub mod expr;
pub mod operator;
pub mod program;
pub mod scalar;

pub use expr::Expr;
pub use operator::Pointwise;
pub use program::Program;
pub use scalar::{CastMode, Scalar, ScalarOp};
