//! Development crate: the suites that every back end must pass.
//!
//! `onnx_cases` reads the test data of the `onnx` Python package, `rules` compares outputs, `variants` rewrites cases
//! so that they exercise other code, `engine` builds plans and runs them here or in the lean program, `suite` runs all
//! cases in one way and records the kernels, `every_case` runs them in every way with one plan. `other_types` converts
//! the catalog's examples to every element type; `operator_table` writes a page of both. `random` builds networks from
//! them. `split` builds plans with a fused region and with its split form.

pub mod control_networks;
mod edge_networks;
pub mod engine;
pub mod every_case;
pub mod fuzz;
pub mod kernels;
pub mod light;
pub mod meaning;
pub mod odd_networks;
pub mod onnx_cases;
pub mod operator_table;
pub mod other_types;
pub mod random;
pub mod rules;
pub mod split;
pub mod suite;
pub mod variants;

/// Suites of cases with data.
pub const SUITES: &[&str] = &["node", "simple", "pytorch-converted", "pytorch-operator"];

/// Instruction set tiers of the CPU back end; a machine without one runs the next lower.
pub const TIERS: &[&str] = &["scalar", "avx2", "avx512"];
