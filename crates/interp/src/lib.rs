//! Layer 1: the reference executor (the judge). It runs a network with `Operator::reference` only, and decides whether
//! two results agree.
//!
//! This crate does not depend on passes, devices or kernels, because it verifies them.

pub mod agreement;
pub mod coarse;
pub mod fast;
pub mod inner_errors;
pub mod inputs;
mod product;
pub mod roles;
pub mod run;
pub mod stepwise;

pub use agreement::{Disagreement, Tolerance, compare};
pub use coarse::Coarse;
pub use fast::FastEvaluator;
pub use inner_errors::inner_errors;
pub use run::{RunError, evaluate_weight, run, run_observed, run_with, run_within};
pub use stepwise::evaluate_by_steps;
