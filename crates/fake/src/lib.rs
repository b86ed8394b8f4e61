//! A development crate: a device that is no processor, for tests that must pass on any device.
//!
//! The host cannot read its memory, and it executes work only when a caller waits. It has kernels for some operators
//! and element types only ([`tactics`]), which evaluate the reference. It limits and counts its memory, and fails on
//! command ([`Faults`]).

pub mod back_end;
pub mod faults;
pub mod machine;
pub mod memory;
pub mod stream;
pub mod tactics;

pub use back_end::Fake;
pub use faults::{Fault, Faults};
pub use memory::Account;
