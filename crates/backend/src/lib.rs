//! Floor 2: what builder and runtime know of a back end.
//!
//! A [`Region`] is the problem: a few operators with typed operands. A [`Tactic`] is one algorithm: it answers a region
//! with [`Candidate`]s or a [`Refusal`] that says why, and later loads a candidate's [`Recipe`] as a [`Kernel`].
//!
//! No kernels here, no unsafe code, no networks.

pub mod device;
pub mod kernel;
pub mod panic;
pub mod region;
pub mod rooms;
pub mod tactic;

pub use device::{BackEnd, Device};
pub use kernel::{
    DynamicTarget, End, Kernel, KernelError, Launch, Loaded, Operand, Stepped, Target, ValueKernel, Workers, scratch,
};
pub use region::Region;
pub use rooms::{Room, Rooms};
pub use tactic::{Candidate, Numerics, Recipe, Refusal, TYPICAL_SIZE, Tactic};
