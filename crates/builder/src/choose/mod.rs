//! Chooses kernels: which operators become one region, in which formats, with which candidates.
//!
//! [`cover`] finds the regions. It queries [`select`] for the best candidate of each, by estimates, or by times that
//! [`tune`] measures. [`tuning_database`] holds the build's knowledge of candidates: times, and failed verifications.

pub(crate) mod concrete;
pub(crate) mod cover;
pub(crate) mod point;
pub(crate) mod select;
pub(crate) mod timings;
pub(crate) mod tune;
pub(crate) mod tuning_database;
