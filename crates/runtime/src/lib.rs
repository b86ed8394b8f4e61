//! Layer 3: running plans.
//!
//! An [`Engine`] is a plan with its kernels loaded; it is `Send + Sync` and runs any number of inferences at once, each in
//! a context (activations and registers) from its pool.
//!
//! The crate links no network, no pass, no importer and no builder; `cargo xtask tidy` checks that. The caller hands in the
//! back end that loads kernels.
#![deny(clippy::unwrap_used, clippy::as_conversions, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may panic"
    )
)]

mod aliasing;
mod arguments;
mod bind;
pub mod bindings;
mod capture;
pub mod context;
mod control;
mod control_group;
pub mod engine;
pub mod error;
mod frame;
mod graph;
mod guard;
mod host_value;
pub mod layout;
mod limit;
mod offer;
mod outside;
mod placement;
pub mod profile;
mod queues;
mod registers;
mod results;
mod sizes;
mod stack;
mod step;
mod weights;

pub use bindings::Bindings;
pub use context::{Context, Counters};
pub use engine::{Engine, EngineOptions, KnownAnswer, suitable_program};
pub use error::RuntimeError;
pub use limit::{available_memory, cpu_quota, default_memory};
pub use profile::{Observer, Profile, StepValues};
