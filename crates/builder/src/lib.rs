//! Layer 3: the story of a build.
//!
//! [`build`] takes a network and a back end. `choose` finds regions and the best candidate for each, `assemble` makes a
//! plan of them, and `verify` compares the plan with the reference executor; `builder.rs` runs these stages from
//! beginning to end.
//!
//! The crate knows no source formats and no particular kernels.

mod assemble;
pub mod builder;
pub mod cache_file;
mod choose;
mod devices;
mod engine_comparison;
pub mod error;
mod fallback;
pub mod harness;
mod known_verifications;
pub mod memory_budget;
pub mod options;
pub mod precision;
pub mod progress;
mod refit;
mod refittable;
pub mod regions;
mod report;
pub mod sizes;
mod tapped;
pub mod verify;

pub use assemble::aliasing::Moved;
pub use builder::{Built, build};
pub use cache_file::CacheError;
pub use choose::cover::Costs;
pub use choose::timings::{Timing, TimingCache};
pub use choose::tune::{MissingTiming, Tuning};
pub use engine_comparison::Engines;
pub use error::BuildError;
pub use known_verifications::VerificationCache;
pub use memory_budget::MemoryError;
pub use options::BuildOptions;
pub use precision::error::PrecisionError;
pub use precision::request::{Precision, PrecisionOptions};
pub use progress::{Progress, Stage};
pub use refit::{RefitError, RefitProblem, refit, refittable_tensors};
pub use regions::{ConsideredCandidate, ConsideredRegion};
pub use sizes::{SizeHint, SizeHints};
pub use tapped::{Tap, TapError, TapSource, run_tapped};
pub use verify::{Dropped, Unverified, Verification, Verify};
