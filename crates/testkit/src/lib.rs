//! Basement: what tests need and no product links.

pub mod allocator;
