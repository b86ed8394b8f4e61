//! Selecting among boxes.

pub mod non_max_suppression;

pub use non_max_suppression::NonMaxSuppression;
