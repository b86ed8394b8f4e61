//! Signal processing.

pub mod dft;

pub use dft::Dft;
