//! A development crate: times the examples of the conformance suites on every tactic that takes them.

pub mod clock;
pub mod table;
