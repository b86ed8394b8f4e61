//! Basement: the problems that conformance tests, timed for every tactic that takes them.

pub mod clock;
pub mod table;
