//! The program from outside: every command, every exit code, what is on disk afterwards.

mod bench;
mod build;
mod destinations;
mod diff;
mod documents;
mod failures;
mod fixture;
mod inspect;
mod interrupt;
mod machine;
mod memory;
mod models;
mod ranges;
mod refit;
mod run;
mod runtime_inputs;
mod schema;
mod self_test;
mod tuning;
