//! Development crate: helpers of tests, which no product links.

pub mod allocator;
mod random;

pub use random::Random;
