//! Pooling: windows of a tensor reduced to one element each.

pub mod max_pool_with_indices;
pub mod max_unpool;
pub mod pooling;
pub mod windows;

pub use max_pool_with_indices::MaxPoolWithIndices;
pub use max_unpool::MaxUnpool;
pub use pooling::{Pool, PoolMode};
pub use windows::PoolWindow;
