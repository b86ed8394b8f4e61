//! Layer 4: the program `sinter`.
//!
//! One file per command in `commands/`, flags by group in `flags/`. A command reads its flags, calls the public interface
//! of Sinter and delivers a report: text for people, JSON with a documented schema for programs. Failures state the problem,
//! its place and the remedy, and end with the exit codes of [`failure::Exit`].

pub mod allocator;
pub mod arguments;
pub mod bounds;
pub mod commands;
pub mod difference;
pub mod dot;
pub mod drawing;
pub mod explain;
pub mod failure;
pub mod files;
pub mod flags;
pub mod generate;
pub mod interrupt;
pub mod output;
pub mod prepare;
pub mod profile;
pub mod progress;
pub mod report;
pub mod self_test;
pub mod trace;
