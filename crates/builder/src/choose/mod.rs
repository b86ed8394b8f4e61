//! Choosing kernels: which operators become one region, in which formats, computed by which candidates.
//!
//! [`cover`] finds the regions. It asks [`select`] for the best candidate of each, by estimates, or by times that [`tune`]
//! measures. [`tuning_database`] holds what a build knows of candidates: times, and what failed verification.

pub(crate) mod cover;
pub(crate) mod point;
pub(crate) mod select;
pub(crate) mod timings;
pub(crate) mod tune;
pub(crate) mod tuning_database;
