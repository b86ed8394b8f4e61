//! Elementwise operators: expressions over scalars.

pub mod unary;
