//! Normalization by statistics of the input itself.

pub mod local_response;
pub mod normalize;

pub use local_response::LocalResponseNormalization;
pub use normalize::{Measure, Normalize};
