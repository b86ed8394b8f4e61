//! Basement: the suites that every back end must pass.
//!
//! `onnx_cases` runs the test data of the `onnx` Python package; `examples` runs every operator's own examples.

pub mod engine;
pub mod kernels;
pub mod light;
pub mod onnx_cases;
pub mod rules;
