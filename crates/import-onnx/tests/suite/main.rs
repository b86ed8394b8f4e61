//! Tests of whole models, one binary.

mod symbolic_sizes;
mod versions;
