//! Floor 3: the story of a build.
//!
//! [`build`] takes a network and a back end, asks every tactic for each region, takes the best candidate, plans memory
//! and makes the plan.
//!
//! Does not know source formats or particular kernels.

pub mod bound;
pub mod builder;
pub mod cache;
mod candidates;
mod compile;
mod cover;
mod devices;
mod draft;
pub mod error;
pub mod evidence;
mod freedom;
mod lower;
pub mod made_up;
mod memory;
pub mod parity;
mod parts;
pub mod progress;
pub mod regions;
mod report;
pub mod select;
pub mod sizes;
pub mod trial;
pub mod tune;
mod wanted;

pub use bound::MemoryError;
pub use builder::{BuildOptions, Built, build};
pub use cache::CacheError;
pub use cache::timings::{Timing, TimingCache};
pub use cache::verdicts::VerdictCache;
pub use cover::Costs;
pub use error::BuildError;
pub use parity::{Dropped, Unverified, Verification, Verify};
pub use parts::Moved;
pub use progress::{Progress, Stage};
pub use regions::{ConsideredCandidate, ConsideredRegion};
pub use sizes::{SizeHint, SizeHints};
pub use tune::engines::Engines;
pub use tune::{MissingTiming, Tuning};
