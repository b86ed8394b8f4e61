//! Operators that move elements without computing on them.

pub mod reshape;

pub use reshape::Reshape;
