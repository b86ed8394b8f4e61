//! The passes against the judge, on random networks and on real ones, and their text forms before and after.

mod file_tests;
mod models;
mod random;
mod round_trip;
mod shuffled;
mod zoo;
