//! Floor 1: the judge. Runs a network with `Operator::reference` only, and says whether two results agree.
//!
//! Does not know passes, devices or kernels: it is what they are measured against.

pub mod agreement;
pub mod fast;
pub mod inputs;
mod product;
pub mod roles;
pub mod run;

pub use agreement::{Disagreement, Tolerance, compare};
pub use fast::FastEvaluator;
pub use run::{RunError, evaluate_weight, run, run_observed, run_with, run_within};
