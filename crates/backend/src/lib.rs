//! Floor 2: what builder and runtime know of a back end.
//!
//! A [`Region`] is the problem: a few operators with typed operands. A [`Tactic`] is one algorithm: it answers a region
//! with [`Candidate`]s or a [`Refusal`] that says why, and later loads a candidate's [`Recipe`] as a [`Kernel`]. Which
//! operators could be one region a [`Proposer`] says.
//!
//! No kernels here, no unsafe code, no networks.

pub mod back_end;
pub mod kernel;
pub mod kernels;
pub mod panic;
pub mod proposer;
pub mod region;
pub mod rooms;
pub mod sizing;
pub mod tactic;
pub mod target;
pub mod workspace;

pub use back_end::BackEnd;
pub use kernel::{
    DynamicOutput, End, Kernel, KernelError, Launch, Loaded, Operand, Output, StrideSupport, ValueKernel, Workers,
};
pub use kernels::Kernels;
pub use proposer::{GraphView, Proposals, Proposer};
pub use region::{Region, RegionKey};
pub use rooms::{Room, Rooms};
pub use sizing::{Sizing, TYPICAL_SIZE};
pub use tactic::{Candidate, KernelKind, Numerics, Problem, Recipe, Refusal, Tactic};
pub use target::Target;
pub use workspace::Workspace;
