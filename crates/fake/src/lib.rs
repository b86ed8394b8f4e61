//! Basement: a device that is no processor, for the tests of all that must not care which device it has.
//!
//! Its memory cannot be read by the host, and nothing is done before somebody waits for it. It has kernels for some
//! operators and element types only ([`tactics`]), which evaluate the reference. It bounds and counts its memory, and fails
//! on command ([`Faults`]).

pub mod back_end;
pub mod faults;
pub mod machine;
pub mod memory;
pub mod stream;
pub mod tactics;

pub use back_end::Fake;
pub use faults::{Fault, Faults};
pub use memory::Account;
