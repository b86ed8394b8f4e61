//! Convolutions.

pub mod convolution;

pub use convolution::Convolution;
