//! Launching kernels on the host: the views of operands, the threads, and the scratch memory that kernels use.
//!
//! [`open`] builds a device from tactics whose kernels work in host memory; the CPU is one of these devices.

pub mod kernel;
pub mod lease;
pub mod machine;
pub mod panic;
pub mod scratch;
pub mod stream;
pub mod workspace;

pub use kernel::{DynamicOutput, Kernel, Launch, Loaded, Operand, Output, Workers};
pub use machine::{HostTactic, Threads, open};
pub use panic::caught;
pub use scratch::{Scratch, ScratchBuffer};
pub use workspace::Workspace;
