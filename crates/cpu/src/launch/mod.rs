//! Launching kernels on the host: the views that kernels see, the threads that they share, the memory that they work in.
//!
//! [`open`] makes a device of tactics whose kernels work in the memory of the host; the CPU's is one of them.

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
