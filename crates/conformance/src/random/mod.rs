//! Compares random networks with the reference executor: passes, cover, memory, plan and runtime in random
//! combinations.
//!
//! `growth` builds a network node by node from a seed: nodes of its own (`nodes`, `control`) and the catalog's examples
//! (`examples`), connected to existing values. It runs the reference of each node first, at both of the sizes that
//! dynamic dimensions get, so every network runs. `check` builds it with and without verification and runs the saved
//! plan at both sizes; `agreement` bounds the effect of rounding; `shrink` removes nodes from a network that failed;
//! `campaign` runs many seeds on all cores.

mod agreement;
pub mod campaign;
mod check;
mod control;
mod examples;
mod growth;
mod nodes;
mod problem;
mod shrink;

pub use check::{Found, check};
pub use growth::grown;
pub use problem::Problem;
pub use shrink::reduced;
