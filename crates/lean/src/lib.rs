//! Layer 4: the lean program, which runs plans and links no code that could make one.
//!
//! `sinter-lean PLAN` opens a plan and runs its self-test. `sinter-lean` alone serves requests from standard input, in
//! the form of [`frame`]; [`client`] starts it and talks to it.

pub mod client;
pub mod frame;
