//! Layer 1: networks, which are bodies with names, weights and source locations.
//!
//! This crate does not depend on source formats, passes, devices or kernels.

pub mod builder;
pub mod graph;
pub mod network;
pub mod patch;
pub mod pattern;
pub mod text;
pub mod verify;

pub use builder::{BuildError, Handle, NetworkBuilder, Scoped};
pub use graph::{Graph, Weights};
pub use network::{Input, Network, Output, Weight, WeightExpr};
pub use patch::{Applied, Patch, PatchError};
pub use text::TextError;
pub use verify::{VerifyError, verify};
