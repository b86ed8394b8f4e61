//! Tests of the passes: results of the reference executor on random and real networks, and text forms before and after.

mod file_tests;
mod models;
mod random;
mod round_trip;
mod shuffled;
mod zoo;
