//! Floor 1: networks, which are bodies with names, weights and source locations.
//!
//! Does not know source formats, passes, devices or kernels.

pub mod builder;
pub mod network;

pub use builder::{BuildError, Handle, NetworkBuilder, Scoped};
pub use network::{Input, Network, Output, Weight, WeightExpr};
