//! One file per command: its flags, its work, its report.

pub mod bench;
pub mod build;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod inspect;
pub mod refit;
pub mod run;
pub mod self_test;
