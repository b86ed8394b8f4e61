//! Development crate: helpers of tests, which no product links.

pub mod allocator;
