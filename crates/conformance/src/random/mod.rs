//! Random networks, held against the judge: passes, cover, memory, plan and runtime in combinations that nobody wrote down.
//!
//! `growth` makes a network node by node from a seed: nodes of its own (`nodes`, `control`) and the catalog's examples
//! (`examples`), joined to values that exist. Each node is tried by its reference first, at both of the sizes that dynamic
//! dimensions get, so every network runs. `check` builds it with and without verification and runs the saved plan at both
//! sizes; `agreement` says what rounding may do; `shrink` takes nodes away from a network that failed; `campaign` runs many
//! seeds on all cores.

mod agreement;
pub mod campaign;
mod check;
mod control;
mod examples;
mod growth;
mod nodes;
mod numbers;
mod problem;
mod shrink;

pub use check::{Found, check};
pub use growth::grown;
pub use numbers::Random;
pub use problem::Problem;
pub use shrink::reduced;
