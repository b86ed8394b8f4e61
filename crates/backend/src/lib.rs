//! Floor 2: what builder and runtime know of a back end.
//!
//! A [`Region`] is the problem: a few operators with typed operands. A [`Tactic`] is one algorithm: it answers a region
//! with [`Candidate`]s or a [`Refusal`] that says why, and compiles a candidate's [`Recipe`] to [`Code`] where its kernels are
//! no part of the program. A [`Device`] loads the recipe, and a [`Queue`] launches the kernel on [`Arguments`] in its
//! [`Memory`]. A [`Proposer`] says which operators could be one region.
//!
//! No kernels here, no host slices, no threads, no unsafe code, no networks.

pub mod back_end;
pub mod code;
pub mod device;
pub mod kernel;
pub mod kernels;
pub mod memory;
pub mod panic;
pub mod proposer;
pub mod queue;
pub mod region;
pub mod sizing;
pub mod tactic;
pub mod target;

pub use back_end::BackEnd;
pub use code::Code;
pub use device::{Device, Loaded, Machine, Stream, open};
pub use kernel::{End, KernelError, StrideSupport, ValueKernel};
pub use kernels::Kernels;
pub use memory::Memory;
pub use proposer::{GraphView, Proposals, Proposer};
pub use queue::{Argument, Arguments, CapturedId, Event, Input, KernelId, Output, Queue, ResidentId, Seed};
pub use region::{Region, RegionKey};
pub use sizing::{Sizing, TYPICAL_SIZE};
pub use tactic::{Candidate, KernelKind, Numerics, Problem, Recipe, Refusal, Tactic};
pub use target::Target;
