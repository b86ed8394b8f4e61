//! Random numbers, the same on every back end.

pub mod fill;
pub mod philox;

pub use fill::{Distribution, RandomFill};
