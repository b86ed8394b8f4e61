//! One file per command: its flags, its work, its report.

pub mod bench;
pub mod build;
pub mod run;
