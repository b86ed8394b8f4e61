//! Floor 3: the story of a build.
//!
//! [`build`] takes a network and a back end, asks every tactic for each region, takes the best candidate, plans memory
//! and makes the plan.
//!
//! Does not know source formats or particular kernels.

pub mod builder;
mod cover;
pub mod error;
mod lower;
mod memory;
pub mod parity;
pub mod select;
pub mod trial;

pub use builder::{BuildOptions, Built, build};
pub use error::BuildError;
pub use parity::{Dropped, Verification, Verify};
