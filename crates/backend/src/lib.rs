//! Layer 2: the interface between back ends and the builder and runtime.
//!
//! A [`Region`] is the problem: a few operators with typed operands. A [`Tactic`] is one algorithm: it offers
//! [`Candidate`]s for a region, or a [`Refusal`] with a reason, and compiles a candidate's [`Recipe`] to [`Code`] where
//! its kernels are not part of the program. A [`Device`] loads the recipe, and a [`Queue`] launches the kernel on
//! [`Arguments`] in its [`Memory`]. A [`Proposer`] names operators that could be one fused region.
//!
//! The crate contains no kernels, host slices, threads, unsafe code or networks.

pub mod back_end;
pub mod code;
pub mod device;
pub mod elsewhere;
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
pub use elsewhere::elsewhere;
pub use kernel::{End, KernelError, StrideSupport, ValueKernel};
pub use kernels::Kernels;
pub use memory::Memory;
pub use proposer::{GraphView, Proposals, Proposer};
pub use queue::{Argument, Arguments, CapturedId, Event, Input, KernelId, Output, Queue, ResidentId, Seed};
pub use region::{Region, RegionKey};
pub use sizing::{Sizing, TYPICAL_SIZE};
pub use tactic::{Candidate, KernelKind, Numerics, Problem, Recipe, Refusal, Tactic};
pub use target::Target;
