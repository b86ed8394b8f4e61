//! Development crate: helpers of tests, which no product links.

pub mod allocator;
pub mod file_tests;
mod random;

pub use random::Random;
